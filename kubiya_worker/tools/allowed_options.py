"""This module lets only known options through to tar, ssh and curl, and only known variables to `env`.

A list of dangerous options grows old with each new version of a program. Here an unknown option is refused, by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

Arguments = Sequence[str]

# Variables that change how output looks, or what a request is called; none makes a program run or reads another file.
VARIABLES: Final = re.compile(
    r"TZ|LANG|LANGUAGE|LC_[A-Z]+|COLUMNS|LINES|TERM|NO_COLOR|CLICOLOR(_FORCE)?|FORCE_COLOR|LS_COLORS|GREP_COLORS?"
    r"|TIME_STYLE|QUOTING_STYLE|BLOCK_?SIZE|(DF|DU|LS)_BLOCK_SIZE|POSIXLY_CORRECT|DEBIAN_FRONTEND|SYSTEMD_COLORS"
    r"|GIT_(AUTHOR|COMMITTER)_(NAME|EMAIL|DATE)|AWS_(PROFILE|REGION|DEFAULT_REGION|DEFAULT_OUTPUT)"
    r"|PG(HOST|HOSTADDR|PORT|USER|DATABASE|TZ|CONNECT_TIMEOUT)|PYTHON(UNBUFFERED|DONTWRITEBYTECODE)"
)


@dataclass(frozen=True)
class Known:
    """The options that a program may be given: letters without and with a value, long options likewise."""

    plain: str
    valued: str
    long: frozenset[str]
    long_valued: frozenset[str] = frozenset()

    def unknown(self, arguments: Arguments) -> str | None:
        """Return the first option that is not known."""
        index = 0
        while index < len(arguments):
            argument = arguments[index]
            index += 1
            if argument == "--":
                return None
            if argument.startswith("--"):
                name, equals, _ = argument.partition("=")
                if name in self.long_valued:
                    index += not equals
                elif name not in self.long:
                    return name
            elif argument.startswith("-") and argument != "-":
                for at, letter in enumerate(argument[1:], 2):
                    if letter in self.valued:
                        index += at == len(argument)
                        break
                    if letter not in self.plain:
                        return f"-{letter}"
        return None


def _words(text: str) -> frozenset[str]:
    return frozenset(f"--{word}" for word in text.split())


_TAR: Final = Known(
    plain="ctxruAdvzjJapkmhSOwWlnoPsBRUGi0123456789Z",
    valued="fCTbXVNKg",
    long=_words(
        "list create extract get append update diff compare delete verbose gzip gunzip ungzip bzip2 xz zstd lzip lzma "
        "lzop auto-compress no-auto-compress totals same-permissions preserve-permissions no-same-permissions same- "
        "owner no-same-owner numeric-owner keep-old-files skip-old-files keep-newer-files overwrite overwrite-dir "
        "unlink-first touch dereference hard-dereference one-file-system sparse to-stdout wildcards no-wildcards "
        "anchored no-anchored ignore-case no-recursion recursion null no-null verbatim-files-from exclude-vcs "
        "exclude-caches exclude-vcs-ignores absolute-names full-time utc block-number verify multi-volume ignore- "
        "zeros version help check-links ignore-failed-read no-ignore-command-error xattrs acls selinux no-xattrs no- "
        "acls no-selinux"
    ),
    long_valued=_words(
        "file directory exclude exclude-from files-from strip-components format blocking-factor level label newer "
        "after-date newer-mtime mode owner group mtime sort transform xform suffix occurrence starting-file "
        "exclude-tag show-transformed-names warning quoting-style listed-incremental"
    ),
)
_SSH: Final = Known(plain="46aCknNqTtvVx", valued="bcilmpJB", long=frozenset())
# The values of these letters and words are not addresses.
_CURL_VALUED: Final = "dHXbuAeFmxrwyYzPQtUCEKoDcT"
_CURL_LONG_VALUED: Final = _words(
    "data data-raw data-binary data-ascii data-urlencode json header request user form form-string user-agent cookie "
    "max-time connect-timeout retry retry-delay retry-max-time proxy write-out referer cacert capath cert key "
    "resolve max-filesize limit-rate url-query range max-redirs noproxy interface speed-limit speed-time "
    "proxy-user proxy-header oauth2-bearer ciphers tls-max connect-to dns-servers expect100-timeout"
)
_CURL_ADDRESS: Final = re.compile(
    r"(?:(?:https?|ftps?|wss?|dict|ldaps?|imaps?|pop3s?|smtps?|sftp|scp|telnet|gophers?|mqtt|rtsp|tftp)://)?"
    r"[^/:?#{}\[\]%\\\s]*(?:\[[0-9A-Fa-f:.]+\])?(?::[^/?#]*)?(?:[/?#].*)?",
    re.DOTALL | re.IGNORECASE,
)
_CURL_REFUSED: Final = (
    *("--proto-default", "--unix-socket", "--abstract-unix-socket", "--engine", "--netrc-file", "--preproxy"),
    *("--variable", "--expand-", "--ipfs-gateway", "--disallow-username-in-url", "--next"),
)


def tar(arguments: Arguments) -> str | None:
    """Return the argument that tar must not get, also in its oldest form (letters without a dash)."""
    first = arguments[0] if arguments else ""
    if first and not first.startswith("-"):
        unknown = next((letter for letter in first if letter not in _TAR.plain + _TAR.valued), None)
        if unknown:
            return f"the letter {unknown}"
        values = sum(letter in _TAR.valued for letter in first)
        arguments = arguments[1 + values :]
    found = _TAR.unknown(_unabbreviated(arguments, _TAR))
    return f"the option {found}" if found else None


def ssh(arguments: Arguments) -> str | None:
    """Return the option that ssh must not get; words after the host are the other host's command."""
    index = 0
    while index < len(arguments) and arguments[index].startswith("-"):
        index += 1 + (len(arguments[index]) == 2 and arguments[index][1] in _SSH.valued)
    found = _SSH.unknown(arguments[:index])
    return f"the option {found}" if found else None


def curl(arguments: Arguments) -> str | None:
    """Return the argument that curl must not get: addresses of files, also in letters that curl itself decodes
    or expands.
    """
    literal = any(re.match(r"-[A-Za-z]*g|--globoff$", argument) for argument in arguments)
    for argument in arguments:
        if argument.startswith("--") and any(
            argument.startswith(refused) or refused.startswith(argument.partition("=")[0])
            for refused in _CURL_REFUSED
            if len(argument) > 5
        ):
            return f"the option {argument.partition('=')[0]}"
    for address in _curl_addresses(arguments):
        text = address if not literal else address.replace("[", "").replace("]", "").replace("{", "").replace("}", "")
        if not _CURL_ADDRESS.fullmatch(text) or text.lower().startswith("file:"):
            return f"the address {address[:80]}"
    return None


def _curl_addresses(arguments: Arguments) -> Iterator[str]:
    index = 0
    while index < len(arguments):
        argument = arguments[index]
        index += 1
        if argument.startswith("--url="):
            yield argument.partition("=")[2]
        elif argument.startswith("--"):
            index += "=" not in argument and argument in _CURL_LONG_VALUED
        elif argument.startswith("-") and argument != "-":
            letters = argument[1:]
            at = next((at for at, letter in enumerate(letters, 1) if letter in _CURL_VALUED), 0)
            index += at == len(letters) and at > 0
        else:
            yield argument


def _unabbreviated(arguments: Arguments, known: Known) -> list[str]:
    """Return the arguments with each abbreviation of one known long option written out, as getopt reads them."""
    names = known.long | known.long_valued
    written: list[str] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        candidates = [each for each in names if each.startswith(name)] if argument.startswith("--") else []
        exact = len(candidates) == 1 and len(name) > 3
        written.append(f"{candidates[0]}{equals}{value}" if exact and name not in names else argument)
    return written
