"""This module tells which parts of settings are credentials, by a value's name or its shape. Pure.

A value is a secret because of what it is, never only because it is there:

    a credential-like name    API_TOKEN, dbPassword, `--api-key`, the header Authorization
    a credential-like shape   the tokens of known services, JWTs, private keys, long mixed text without words
    a password in a DSN       of `scheme://user:password@host/db` the password only; host and database stay readable

All other values (a namespace, a cluster, a database's name) are no credentials. Of names that contain a credential's
word but are ordinary (`partition_key`, KEYBOARD_LAYOUT) there is a list; with such a name, only the shape counts.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from kubiya_worker import templates

SHORTEST: Final = 6  # characters; anything shorter would hit innocent text
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET_WORDS: Final = re.compile(
    r"[A-Z0-9]*(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|PASSCODE|CREDENTIAL)S?|PASS|PWD|PW|PAT|JWT|BEARER|CREDS?"
    r"|(?:API|ACCESS|AUTH|SSH|PRIVATE|ENCRYPTION|MASTER|SIGNING|LICEN[SC]E|ACCOUNT|SECRET|SHARED)?KEYS?"
    r"|AUTH(?:ORIZATION|ENTICATION)?|COOKIES?"
)
# Words within a name that have nothing to do with credentials: keys of data, which open nothing, and longer words. The
# primary key of some cloud services is a credential nevertheless: its value tells, as it is long and random.
_ORDINARY: Final = re.compile(
    r"(?i:(?:CACHE|CLUSTERING|DEDUPLICATION|FOREIGN|GROUP|GROUPING|IDEMPOTENCY|INDEX|JOIN|LOOKUP|OBJECT|ORDERING"
    r"|PARTITION|PARTITIONING|PRIMARY|PUBLIC|RANGE|ROUTING|SHARD|SHARDING|SORT|SORTING|UNIQUE)[_. -]?KEYS?"
    r"|KEYBOARD|KEYCLOAK|KEYMAP|KEYSPACES?|KEYWORDS?|HOTKEYS?|MONKEYS?|TOKENI[SZ](?:ERS?|ATION|E)"
    r"|PRIVATE[_. -]?(?:ADDRESS|CIDR|CLUSTER|DNS|DOMAIN|ENDPOINT|IPS?|LINK|NETWORKS?|REGISTRY|SUBNETS?|ZONES?))"
    r"(?![a-z])"
)
# A header's name may be written as one word: XAPIKEY. The others end so by chance; Portkey is a gateway.
_JOINED_KEY: Final = re.compile(r"(?!(?:DON|HOC|JOC|KEN|MON|PORT|TUR|WHIS)KEY)[A-Z0-9]+KEY")
# For variables of the worker itself, whose names nobody has chosen for us: the words count within longer ones, too.
_WITHIN: Final = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|PRIVATE", re.IGNORECASE)
# Last words of names that say something about a credential, but are not one.
_ABOUT: Final = re.compile(
    "PATH|FILE|DIR|FOLDER|HOST|PORT|LIMIT|COUNT|SIZE|TTL|TYPE|NAME|NAMESPACE|LENGTH|EXPIRY|EXPIRES|TIMEOUT|ALGORITHM"
    "|HEADER|REGION|ENVIRONMENT|MODE|ENABLED|DISABLED|REQUIRED|FORMAT|VERSION|ISSUER|AUDIENCE|METHOD|SCHEME|USER|USERNAME"
)
_PLAIN_VALUE: Final = re.compile(
    r"true|false|yes|no|on|off|none|null|enabled|disabled|required|optional", re.IGNORECASE
)
_COUNTED: Final = re.compile(r"[0-9.]+")
# A public key, as an ssh host shows it to everybody and as known_hosts has it.
_PUBLIC_KEY: Final = re.compile(
    r"(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp\d{3}|sk-[a-z0-9@.-]+) AAAA[A-Za-z0-9+/]+={0,2}(?: [\w@.-]+)?"
)

_SHAPES: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]+?-----END [A-Z ]*PRIVATE KEY-----"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"  # a JWT
    r"|\b(?:sk|pk|rk|ak)[-_][A-Za-z0-9_-]{16,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{16,}|\bgithub_pat_[A-Za-z0-9_]{16,}|\bglpat-[A-Za-z0-9_-]{16,}"
    r"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bxapp-[A-Za-z0-9-]{10,}"
    r"|\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{30,}|\bya29\.[A-Za-z0-9_-]{16,}"
    r"|\b(?:hf|npm|pypi|dop_v1|shpat|shpss|lin_api|ntn|secret|hvs|hvb|kby|figd|sntrys|tvly|gsk|xai)[_.-][A-Za-z0-9_-]{16,}"
)
_MIXED: Final = re.compile(r"[A-Za-z0-9+_=]{24,}|[A-Za-z0-9+/_=]{36,}")  # long, of one piece
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")
_PAIR: Final = re.compile(
    r"(?:^|[\s;&?,])(?:ssl)?(?:password|passwd|pwd|pass)\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|([^\s;&,]+))", re.IGNORECASE
)
_GO: Final = re.compile(r"^[^\s:/@]+:(\S+)@(?:tcp|udp|unix)\(")  # user:password@tcp(host:3306)/db
_HEADER: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*)\s*:\s+(\S.*)")


def names_a_secret(name: str) -> bool:
    """Return True for the name of a variable, key, flag or header whose value is a credential."""
    words = [word.upper() for word in _WORD.findall(_ORDINARY.sub(" ", name))]
    if not words or words in (["PWD"], ["OLDPWD"]) or _ABOUT.fullmatch(words[-1]):
        return False
    joined = [*words, *(a + b for a, b in itertools.pairwise(words))]
    return any(_SECRET_WORDS.fullmatch(word) for word in joined)


def may_be_secret(name: str, value: str = "") -> bool:
    """Return True if a variable of a worker, or a key of its configuration, may hold a credential, by its name.

    More names count than those of `names_a_secret`: OPENAIKEY has no separate word.
    """
    return bool(_WITHIN.search(_ORDINARY.sub(" ", name))) and not _is_switch(name, value)


def certain(name: str, value: str) -> list[str]:
    """Return the parts of a named value that are credentials for sure: by the name, a known shape, or a DSN.

    Long mixed text is not among them, since it can be a digest. A value with a template references a secret already.
    """
    if any(templates.names(value)):
        return []
    inner = list(passwords(value))
    if names_a_secret(name) and not _is_plain(name, value) and not (inner and _URL.fullmatch(value)):
        scheme, blank, rest = value.partition(" ")
        return [rest.strip() if blank and scheme.isalpha() and rest.strip() else value]
    shaped = [match[0] for match in _SHAPES.finditer(value)]
    if _ORDINARY.search(name):
        shaped += [match[0] for match in _MIXED.finditer(value) if _is_mixed(match[0])]
    pairs = [pair for match in _URL.finditer(value) for pair in _query(match[0])]
    return list(dict.fromkeys([*shaped, *inner, *pairs]))


def in_header(name: str, value: str) -> bool:
    """Return whether a header holds a credential: by its name, also in one word, or by the shape of its value."""
    if any(certain(name, value)):
        return True
    words = [word.upper() for word in _WORD.findall(_ORDINARY.sub(" ", name))]
    joined = any(_JOINED_KEY.fullmatch(word) for word in words) and not (words and _ABOUT.fullmatch(words[-1]))
    return joined and bool(value) and not any(templates.names(value)) and not _is_plain(name, value)


def shaped(text: str) -> list[str]:
    """Return the parts of a text that have the shape of a known service's key."""
    return list(dict.fromkeys(match[0] for match in _SHAPES.finditer(text)))


def _query(url: str) -> Iterator[str]:
    """Yield the values of a URL's query that their names call credentials."""
    try:
        query = urlsplit(url).query
    except ValueError:
        return
    yield from (value for name, value in parse_qsl(query) if names_a_secret(name) and not _is_plain(name, value))


def of_arguments(arguments: list[str]) -> Iterator[str]:
    """Yield the secrets of a command line: `--token X`, `--token=X`, `-e TOKEN=X`, `--header "X-Api-Key: X"`."""
    for at, argument in enumerate(arguments):
        yield from of_text(argument)
        name, equals, value = argument.partition("=")
        if equals and value and "://" not in name:
            yield from of_pair(name, value)
        elif argument.startswith("-") and not equals and at + 1 < len(arguments):
            following = arguments[at + 1]
            if not following.startswith("-"):
                yield from of_pair(argument, following)
        header = _HEADER.fullmatch(value if equals and argument.startswith("-") else argument)
        if header:
            yield from of_pair(header[1], header[2])


def of_pair(name: str, value: str) -> Iterator[str]:
    """Yield the secret parts of a named value."""
    if names_a_secret(name) and not _is_plain(name, value):
        inner = set(passwords(value))
        if not (inner and _URL.fullmatch(value)):
            yield value
            scheme, blank, rest = value.partition(" ")
            if blank and scheme.isalpha():  # Bearer, Basic, token
                yield rest.strip()
    yield from of_text(value)


def of_text(text: str) -> Iterator[str]:
    """Yield the parts of any text that are secret by their shape, and the passwords of DSNs in it."""
    yield from (match[0] for match in _SHAPES.finditer(text))
    yield from passwords(text)
    for match in _URL.finditer(text):
        yield from _of_url(match[0])
    if "://" not in text and not text.startswith("/"):
        yield from (match[0] for match in _MIXED.finditer(text) if _is_mixed(match[0]))


def _of_url(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    for name, value in parse_qsl(parts.query):
        if (names_a_secret(name) and not _is_plain(name, value)) or _is_mixed(value):
            yield value
    yield from (part for part in parts.path.split("/") if _is_mixed(part))


def passwords(text: str) -> Iterator[str]:
    """Yield the passwords of connection strings in `text`, as they are written and decoded.

    One that is also the name of the user, the host or the database, or that is short, is hidden only where it stands
    behind its user: else an ordinary word would be hidden in every result.
    """
    for match in _URL.finditer(text):
        scheme, _, rest = match[0].partition("://")
        head = re.split(r"[/?#]", rest, maxsplit=1)[0]
        if "@" not in head and not re.search(r":[^:]*[^0-9:][^:]*$", head):
            continue  # no user, or a host and its port: an `@` further on is part of the path
        credentials, at, place = rest.rpartition("@") if "@" not in head else _split_last(rest, head)
        user, colon, password = credentials.partition(":")
        if at and colon and password and not any(templates.names(password)):
            others = {user, *re.split(r"[/?#:.,&=]", place), scheme}
            for form in (password, unquote(password)):
                if form in others or len(form) < SHORTEST:
                    behind = f"{user}:{form}@"
                    yield behind if len(behind) >= SHORTEST else f"://{behind}"
                else:
                    yield form
    for match in (*_PAIR.finditer(text), *_GO.finditer(text)):
        yield from (group for group in match.groups() if group)


def _split_last(rest: str, head: str) -> tuple[str, str, str]:
    credentials, at, host = head.rpartition("@")
    return credentials, at, host + rest[len(head) :]


def _is_mixed(text: str) -> bool:
    """Return True for text that only a random generator writes: long, with digits and letters of both cases."""
    if len(text) < 24 or not _MIXED.fullmatch(text.replace("-", "_")):
        return False
    kinds = ["digit" if char.isdigit() else "upper" if char.isupper() else "lower" for char in text]
    changes = [pair for pair in itertools.pairwise(kinds) if pair[0] != pair[1]]
    return sum("digit" in pair for pair in changes) >= 2 and len(changes) >= 0.3 * len(text) and len(set(kinds)) == 3


def _is_switch(name: str, value: str) -> bool:
    """Return True for a switch, or a count such as that of MAX_TOKENS."""
    words = [word.upper() for word in _WORD.findall(name)]
    counts = bool(words) and words[-1] in ("TOKENS", "KEYS", "SECRETS")
    return bool(_PLAIN_VALUE.fullmatch(value) or (counts and _COUNTED.fullmatch(value)))


def _is_plain(name: str, value: str) -> bool:
    """Return True for a value that is no credential although its name looks so: a switch, a count, a path."""
    if _is_switch(name, value) or _PUBLIC_KEY.fullmatch(value):
        return True
    if value.startswith("/"):  # base64 can begin so too, but does not go on with what is there
        return value.count("/") > 1 and Path("/", value.split("/")[1]).exists()
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return bool(parts.scheme and parts.netloc) and "@" not in parts.netloc
