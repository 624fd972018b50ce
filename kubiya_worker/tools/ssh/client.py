"""Write what the OpenSSH client is given for one call, and read in its log how a connection ended.

The client reads one file, made here for the call, and no other configuration. Its own messages go to a log file
(`-E`), so they cannot be mistaken for what a program printed on the other host, nor the other way round.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from kubiya_worker.tools.shell.command_line import CommandLine
from kubiya_worker.tools.ssh.inventory import Inventory

FAILED: Final = 255  # the client's exit code for an error of its own; a program may have it too
KNOWN_HOSTS: Final = "known_hosts"
CONFIGURATION: Final = "config"
# For every host: nobody is there to answer, nothing is forwarded, no key is learned, no program is started.
_ALWAYS: Final = """
Host *
  BatchMode yes
  StrictHostKeyChecking yes
  UpdateHostKeys no
  VerifyHostKeyDNS no
  CheckHostIP no
  CanonicalizeHostname no
  PreferredAuthentications publickey
  ForwardAgent no
  ForwardX11 no
  PermitLocalCommand no
  ControlMaster no
  ControlPath none
  EscapeChar none
  RequestTTY no
  ConnectionAttempts 1
  SendEnv TRACEPARENT
  ServerAliveInterval 15
  ServerAliveCountMax 3
  LogLevel VERBOSE
"""
_CHANGED: Final = "IDENTIFICATION HAS CHANGED"
_UNKNOWN_KEY: Final = re.compile(r"^No (\S+) host key is known for ", re.MULTILINE)
_SENT: Final = re.compile(r"^(?:The fingerprint for the \S+ key sent by the remote host is)\n(\S+)", re.MULTILINE)
_AUTHENTICATED: Final = re.compile(r"^Authenticated to ", re.MULTILINE)
_DENIED: Final = re.compile(r"^\S*: Permission denied \(", re.MULTILINE)
_NOISE: Final = re.compile(r"^(?:Warning: |debug|Server host key|Connecting to|@|Transferred|Bytes per)")


def configuration(inventory: Inventory, folder: Path, program: str, agent: str, connect_timeout: float) -> str:
    """Return the client's configuration file. `agent` is the socket of an ssh-agent, or empty.

    The first value of an option counts, so what is said for one host comes first.
    """
    parts = []
    for name, host in inventory.hosts.items():
        lines = [
            f"Host {name}",
            f"  HostName {host.address}",
            f"  Port {host.port}",
            f"  User {host.user}",
            f"  HostKeyAlias {name}",
        ]
        if host.private_key:
            lines += [
                f"  IdentityFile {_quoted(folder / key_file(name))}",
                "  IdentitiesOnly yes",
                "  IdentityAgent none",
            ]
        else:
            lines += ["  IdentityFile none", f"  IdentityAgent {_quoted(agent)}"]
        if host.jump:
            # ProxyJump would start a client that writes its log into the output.
            files = ("-F", str(folder / CONFIGURATION), "-E", str(folder / log_file(name, host.jump)))
            again = shlex.join([program, *files]).replace("%", "%%")
            lines.append(f"  ProxyCommand {again} -W [%h]:%p -- {host.jump}")
        parts.append("\n".join(lines))
    known = _quoted(folder / KNOWN_HOSTS)
    always = f"{_ALWAYS}  UserKnownHostsFile {known}\n  GlobalKnownHostsFile none\n"
    return "\n\n".join([*parts, f"{always}  ConnectTimeout {max(int(connect_timeout), 1)}\n"])


def known_hosts(inventory: Inventory) -> str:
    """Return the file of pinned keys. The names are those of the inventory, not addresses."""
    return "".join(f"{name} {kind} {key}\n" for name, host in inventory.hosts.items() for kind, key in host.host_keys)


def key_file(name: str) -> str:
    return f"key-{name}"


def log_file(name: str, jump: str = "") -> str:
    return f"log-{name}+{jump}" if jump else f"log-{name}"


def command(program: str, folder: Path, host: str, remote: str) -> tuple[str, ...]:
    """Return the client's arguments. Everything of the inventory is in the file; `--` ends the options."""
    files = ("-F", str(folder / CONFIGURATION), "-E", str(folder / log_file(host)))
    return (program, *files, "-T", "--", host, remote)


def remote_command(lines: Sequence[CommandLine], folder: str) -> str:
    """Return the text for the login shell of the other host: each word quoted, pipes between the programs.

    POSIX shells, fish and csh read these words alike: `shlex.quote` does not suit fish, for which a backslash in quotes
    can hide a quote.
    """
    text = " | ".join(" ".join(map(quoted_word, line.argv)) for line in lines)
    return f"cd {quoted_word(folder)} && {text}" if folder else text


def quoted_word(word: str) -> str:
    """Return a word that every shell reads as it is."""
    parts = re.findall(r"[\\'!]|[^\\'!]+", word)
    return "".join(f"\\{part}" if part in "\\'!" else f"'{part}'" for part in parts) or "''"


def fault(log: str, jumps: Mapping[str, str], host: str) -> tuple[str, str] | None:
    """Return (state, what happened) if the client ended by itself; None if the program of the other host has.

    `jumps` are the logs of the hosts on the way, by their names.
    """
    if _AUTHENTICATED.search(log):
        return None
    for name, text in (*jumps.items(), (host, log)):
        fault = _fault(text, name)
        if fault is not None and (fault[0] != "unreachable" or name == host):
            return fault
        if name != host and not _AUTHENTICATED.search(text):
            return "unreachable", f"the jump host {name} cannot be reached: {_last(text)}"
    return "unreachable", "the connection ended before the login"


def _fault(log: str, host: str) -> tuple[str, str] | None:
    if _CHANGED in log:
        sent = _SENT.search(log)
        key = f" It sent {sent[1].rstrip('.')}." if sent else ""
        return "host_key_changed", (
            f"REFUSED: the host key of {host} is not the pinned one; nothing was run.{key} Somebody may be in between. "
            "If the host was installed anew, a person changes `host_key` in the skill"
        )
    if unknown := _UNKNOWN_KEY.search(log):
        return "host_key_changed", (
            f"REFUSED: {host} shows a host key of the type {unknown[1]}, for which none is pinned; nothing was run"
        )
    if _DENIED.search(log):
        return "login_refused", f"{host} refuses the login: {_last(log)}"
    return "unreachable", f"{host} cannot be reached: {_last(log)}"


def _last(log: str) -> str:
    """Return the client's last message, of 300 characters at most."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not _NOISE.match(line)]
    return lines[-1].removeprefix("ssh: ").rstrip(".")[:300] if lines else "the client says nothing"


def _quoted(path: Path | str) -> str:
    """Return a path for the configuration file, where `%` and quotes have a meaning."""
    return '"' + str(path).replace("%", "%%") + '"'
