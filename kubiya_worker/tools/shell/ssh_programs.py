"""This module reads what ssh and the programs beside it are given: hosts, settings, and libraries that they load."""

from __future__ import annotations

import re
from typing import Final

from kubiya_worker.tools.shell.changed_files import local_target
from kubiya_worker.tools.shell.option_tables import TABLE
from kubiya_worker.tools.shell.options import Arguments, Options, ParsedArguments, Place

# A name goes into a command line that ssh makes itself (ProxyJump), so nothing in it may mean more than a name.
_HOST: Final = re.compile(r"[A-Za-z0-9_.\[:][A-Za-z0-9_.:%\[\]-]*/?")
_USER: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.+\\@-]*")
# Settings that name no program, no file and no library.
_SETTING: Final = re.compile(
    r"(?:batchmode|connecttimeout|connectionattempts|stricthostkeychecking|serveralive(?:interval|countmax)|loglevel"
    r"|port|addressfamily|numberofpasswordprompts|passwordauthentication|pubkeyauthentication|preferredauthentications"
    r"|kbdinteractiveauthentication|gssapiauthentication|identitiesonly|compression|requesttty|tcpkeepalive"
    r"|checkhostip|ciphers|macs|kexalgorithms|hostkeyalgorithms|pubkeyacceptedalgorithms|updatehostkeys|visualhostkey"
    r"|clearallforwardings|exitonforwardfailure)(?:\s*=\s*|\s+)[A-Za-z0-9+^*@.,:-]+",
    re.IGNORECASE,
)
_NO_KNOWN_HOSTS: Final = re.compile(r"(?:user|global)knownhostsfile(?:\s*=\s*|\s+)/dev/null", re.IGNORECASE)


def _wrong_host(text: str) -> bool:
    user, at, host = text.removeprefix("ssh://").rpartition("@")
    return not _HOST.fullmatch(host) or bool(at and not _USER.fullmatch(user))


def _common(parsed: ParsedArguments) -> str | None:
    for setting in parsed.values("-o"):
        if not (_SETTING.fullmatch(setting) or _NO_KNOWN_HOSTS.fullmatch(setting)):
            return f"the setting {setting[:80]}, which is none of those that are allowed"
    for jumps in parsed.values("-J"):
        if wrong := next((jump for jump in jumps.split(",") if _wrong_host(jump)), None):
            return f"the jump host {wrong[:80]}"
    user = next((user for user in parsed.values("-l") if not _USER.fullmatch(user)), None)
    return None if user is None else f"the user {user[:80]}"


def ssh(parsed: ParsedArguments, place: Place) -> str | None:
    """Return what ssh must not get. It takes options behind the host too, up to the first word of the command."""
    if not parsed.operands:
        return _common(parsed)
    host, *rest = parsed.operands
    if _wrong_host(host):
        return f"the host {host[:80]}"
    behind = TABLE["ssh"].read(rest, place)
    return behind.refused or _common(ParsedArguments((*parsed.options, *behind.options)))


def scp(parsed: ParsedArguments, place: Place) -> str | None:
    """Return what scp must not get."""
    bandwidth = ParsedArguments(
        tuple((name, value) for name, value in parsed.options if name != "-l")
    )  # its `-l` is no user
    return _common(bandwidth) or local_target(parsed, place)


_KEYGEN: Final = Options(
    plain="lByLepciqvhH",
    valued="ftbNCPEFRamZ",
    long="",
)
_KEYGEN_READS: Final = ("-l", "-y", "-B", "-L", "-F", "-e", "-i")


def keygen(arguments: Arguments, place: Place) -> str | None:
    """Return what ssh-keygen must not get: libraries, signing, and key files outside that it would write."""
    parsed = _KEYGEN.read(arguments, place)
    if parsed.refused:
        return parsed.refused
    if parsed.operands:
        return f"{parsed.operands[0][:80]}, which it would sign or write"
    changes = not parsed.has(*_KEYGEN_READS) or parsed.has("-p", "-c", "-R", "-H")
    files = [file for file in parsed.values("-f") if changes and place.outside(file)]
    return f"{files[0][:80]}, which it would change outside of the workspace" if files else None


_ADD: Final = Options(plain="lLdDcqvxXkKT", valued="tE")
_KEYSCAN: Final = Options(plain="46cDHv", valued="pTtO")


def add(arguments: Arguments, place: Place) -> str | None:
    """Return what ssh-add must not get: `-s` loads a library."""
    return _ADD.read(arguments, place).refused or None


def keyscan(arguments: Arguments, place: Place) -> str | None:
    """Return what ssh-keyscan must not get: a list of names out of a file."""
    return _KEYSCAN.read(arguments, place).refused or None
