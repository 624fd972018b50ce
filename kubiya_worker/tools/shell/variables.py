"""This module decides which environment variables reach the programs that a skill lists.

A variable is a way to give options that no argument shows: `TAR_OPTIONS`, `GIT_SSH_COMMAND`, `LESSOPEN`, `PAGER`.
What a model may set (`env NAME=value program`) is a list of names that run nothing and name no file. The variables of
an execution come from persons; of those, the ones that programs read as code or as settings are kept back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # for a worker without a PATH

# These change how output looks, or what a request is called; none makes a program run or read another file.
# POSIXLY_CORRECT is not among them: with it, words that are options here become files.
HARMLESS: Final = re.compile(
    r"TZ|LANG|LANGUAGE|LC_[A-Z]+|COLUMNS|LINES|TERM|NO_COLOR|CLICOLOR(_FORCE)?|FORCE_COLOR|LS_COLORS|GREP_COLORS?"
    r"|TIME_STYLE|QUOTING_STYLE|BLOCK_?SIZE|(DF|DU|LS)_BLOCK_SIZE|DEBIAN_FRONTEND|SYSTEMD_COLORS"
    r"|GIT_(AUTHOR|COMMITTER)_(NAME|EMAIL|DATE)|AWS_(PROFILE|REGION|DEFAULT_REGION|DEFAULT_OUTPUT)"
    r"|PG(HOST|HOSTADDR|PORT|USER|DATABASE|TZ|CONNECT_TIMEOUT)|PYTHON(UNBUFFERED|DONTWRITEBYTECODE)"
)
_LOCALE: Final = re.compile(r"TZ|LANG|LANGUAGE|LC_[A-Z]+|TERM")
# A locale or a time zone is a name; with a slash it is a file to load.
_NAME_ONLY: Final = re.compile(r"[A-Za-z0-9_.,@:+<>-]*(?:/[A-Za-z0-9_+-]+){0,2}")

# Names that belong to the worker. `pass_environment` of a skill may let one of them through.
_WORKERS: Final = re.compile(
    r"KUBIYA_.*(KEY|TOKEN|SECRET|PASSWORD).*|(KUBIYA|TEMPORAL|LITELLM|WORKER|CONTROL_PLANE)_(API_)?(KEY|TOKEN)"
    r"|KUBIYA_TOOL_CALL_ID"
)
# Nobody may pass these: they turn an allowed program into another one.
_LOADING: Final = re.compile(
    r"LD_.*|DYLD_.*|BASH_ENV|BASH_FUNC.*|ENV|IFS|PATH|GCONV_PATH|GLIBC_TUNABLES|PYTHONHOME|PYTHONSTARTUP"
)
# Where programs are listed, these reach none of them either: programs take them for code, options or settings.
_READ_AS_CODE: Final = re.compile(
    r"GIT_.*|SSH_.*|GNUPGHOME|SVN_.*|HG.*|CVS_.*|BZR_.*"
    r"|.*(PAGER|EDITOR|BROWSER|ASKPASS)|(.*_)?SHELL|VISUAL|FCEDIT|LESS.*|MORE|MANOPT|MANROFFOPT|MANPATH|GROFF_.*|LV"
    r"|PYTHON.*|NODE_.*|NPM_.*|npm_.*|YARN_.*|DENO_.*|BUN_.*|PERL.*|RUBY.*|GEM_.*|BUNDLE_.*|LUA_.*|PHP.*|R_.*|TCL.*"
    r"|_?JAVA_.*|JDK_.*|CLASSPATH|MAVEN_.*|GRADLE_.*|SBT_.*|GO(FLAGS|PATH|ROOT|ENV|PROXY|TOOLCHAIN)|CARGO_.*|RUST.*"
    r"|MAKE.*|GNUMAKEFLAGS|CC|CXX|CPP|LD|AR|(C|CPP|CXX|LD)FLAGS|CMAKE_.*|PKG_CONFIG.*"
    r"|TAR_OPTIONS|TAPE|GZIP|BZIP2?|XZ_.*|ZSTD_.*|ZIPOPT|UNZIP|ZIPINFO.*|RSYNC_.*|GREP_OPTIONS|RIPGREP_.*|ACKRC|FIND_.*"
    r"|AWK.*|GAWK.*|POSIXLY_.*|VIM.*|EXINIT|MYVIMRC|EMACS.*|SQLITE.*|PSQL.*|PSQLRC|PGSYSCONFDIR|PGSERVICEFILE|MYSQL_.*"
    r"|OPENSSL_.*|SSLKEYLOGFILE|CURL_HOME|CURLRC|WGETRC|SYSTEM_WGETRC|NETRC|HOSTALIASES|LOCALDOMAIN|RES_OPTIONS|LOCPATH"
    r"|NLSPATH|OUTPUT_CHARSET|TERMINFO.*|TERMCAP|TERMPATH|MALLOC_.*|BASH.*|SHELLOPTS|CDPATH|GLOBIGNORE|PS[0-4]|ZDOTDIR"
    r"|PROMPT_COMMAND|INPUTRC|HOME|XDG_.*|TMPDIR|TMP|TEMP|SYSTEMD_.*|DBUS_.*|ANSIBLE_.*|TF_CLI.*|DPKG_.*|APT_.*"
)


def tool_environment(
    env: Mapping[str, str], passed: frozenset[str] = frozenset(), *, listed: bool = False
) -> dict[str, str]:
    """Return the variables of an execution that a tool may have.

    `passed` are names of the worker that the skill's configuration allows. `listed` says that only listed programs run,
    so that a variable must not make one of them another program.
    """
    return {
        name: value
        for name, value in env.items()
        if "=" not in name
        and "\0" not in name + value
        and not _LOADING.fullmatch(name)
        and (name in passed or not _WORKERS.fullmatch(name))
        and (not listed or HARMLESS.fullmatch(name) or not _READ_AS_CODE.fullmatch(name))
        and is_harmless_value(name, value)
    }


def is_harmless_value(name: str, value: str) -> bool:
    """Return whether a locale, time zone or terminal is a name, not the path of a file that a program loads."""
    return not _LOCALE.fullmatch(name) or (
        _NAME_ONLY.fullmatch(value) is not None and not value.startswith(("/", ":/")) and ".." not in value
    )


def never_passed(name: str) -> bool:
    """Return whether no configuration may give this variable to programs."""
    return _LOADING.fullmatch(name) is not None
