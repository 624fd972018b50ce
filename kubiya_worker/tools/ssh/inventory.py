"""The inventory of an ssh skill: hosts with their pinned keys, and groups of them.

Every text here ends up in a configuration file of the OpenSSH client, so each has a pattern of what it may be. None can
begin with a dash, and none holds a space, a line break, a quote or a percent sign, by which it could become an option.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools.base import ToolArgumentsError
from kubiya_worker.tools.skill_configuration import Skill

HOST_KEYS: Final = {
    "address": "a name or an IP address; the host's own name without it",
    "port": "1 to 65535 (22)",
    "user": "the account; the skill's `user` without it",
    "host_key": 'the pinned key as in known_hosts, "ssh-ed25519 AAAA…", or a list of them',
    "jump": "the name of the host of the inventory through which this one is reached",
    "jump_only": "true for a host on which no program may be run",
    "private_key": "a secret's reference; the skill's `private_key` without it",
}
MOST_HOSTS: Final = 1_000  # of one inventory
MOST_JUMPS: Final = 4
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
_ADDRESS: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}|[0-9A-Fa-f:.]{2,45}")
_USER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.@+-]{0,63}")
_HOST_KEY: Final = re.compile(r"([a-z][a-z0-9@.-]{3,60}) ([A-Za-z0-9+/]{20,16000}={0,2})(?: .*)?")
_REFERENCE: Final = re.compile(r"\s*\{\{\s*\.secret\.[A-Za-z_][A-Za-z0-9_]*\s*\}\}\s*")


@dataclass(frozen=True)
class SshHost:
    """One host. `host_keys` are (type, base64); `private_key` is a secret's reference, empty for the agent's keys."""

    name: str
    address: str
    port: int
    user: str
    host_keys: tuple[tuple[str, str], ...]
    jump: str = ""
    jump_only: bool = False
    private_key: str = ""


@dataclass(frozen=True)
class Inventory:
    """The hosts and groups of a skill, by name."""

    hosts: Mapping[str, SshHost]
    groups: Mapping[str, tuple[str, ...]]

    @property
    def reachable(self) -> list[str]:
        """Return the names of the hosts on which programs may be run."""
        return [name for name, host in self.hosts.items() if not host.jump_only]

    def members(self, names: Iterable[str]) -> list[str]:
        """Return names of hosts: each group is replaced by its members, and no host comes twice because of one."""
        hosts: list[str] = []
        for name in names:
            if name not in self.groups:
                self.host(name)
                hosts.append(name)
        for name in names:
            hosts += [one for one in self.groups.get(name, ()) if one not in hosts]
        return hosts

    def host(self, name: str) -> SshHost:
        """Return a host. Raises ToolArgumentsError, with the nearest name."""
        host = self.hosts.get(name)
        if host is not None and not host.jump_only:
            return host
        known = [*self.groups, *self.reachable]
        near = difflib.get_close_matches(name, known, 1)
        hint = f"Did you mean {near[0]}?" if near else f"Hosts and groups: {', '.join(known[:50])}"
        raise ToolArgumentsError(f"There is no host {name[:80]!r} here. {hint}")

    def path(self, name: str) -> list[SshHost]:
        """Return the host, then the hosts on the way to it, the nearest to the host first."""
        hosts = [self.hosts[name]]
        while hosts[-1].jump:
            hosts.append(self.hosts[hosts[-1].jump])
        return hosts


def of_skill(skill: Skill) -> Inventory:
    """Return the inventory of a skill. Raises ConfigurationError, which names the host and the key."""
    raw = skill.configuration.get("hosts")
    if not isinstance(raw, Mapping) or not raw or len(raw) > MOST_HOSTS:
        raise skill.wrong("hosts", f"an object of 1 to {MOST_HOSTS} hosts: name, then {', '.join(HOST_KEYS)}")
    agent = skill.flag("agent", False)
    default_key = reference(skill, "private_key", skill.configuration.get("private_key"))
    user = skill.text("user")
    if user and not _USER.fullmatch(user):
        raise skill.wrong("user", "the name of an account")
    hosts = {str(name): _host(skill, str(name), one, user, default_key, agent) for name, one in raw.items()}
    for host in hosts.values():
        _check_jumps(skill, host, hosts)
    if all(host.jump_only for host in hosts.values()):
        raise skill.wrong("hosts", "an object with a host that is not `jump_only`")
    return Inventory(hosts, _groups(skill, hosts))


def reference(skill: Skill, key: str, value: Any) -> str:
    """Return a secret's reference, or "" for none. A key in the open is refused, and not shown."""
    if value is None:
        return ""
    if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
        raise ConfigurationError(
            f"skill {skill.name!r} ({skill.type}): `{key}` is no reference to a secret",
            remedy=f"Store the key: kubiya secrets set NAME, and write {{{{.secret.NAME}}}} into `{key}`",
        )
    return value


def _host(skill: Skill, name: str, raw: Any, user: str, default_key: str, agent: bool) -> SshHost:
    def wrong(key: str, wanted: str) -> ConfigurationError:
        return ConfigurationError(
            f"skill {skill.name!r} ({skill.type}): the host {name[:80]!r}: `{key}` must be {wanted}",
            remedy="Correct it in the skill's `hosts`; docs/skills.md has an example",
        )

    if not _NAME.fullmatch(name):
        raise wrong("hosts", "an object whose names have letters, digits, `_`, `.` and `-`, and begin without a dash")
    if not isinstance(raw, Mapping):
        raise wrong("hosts", f"an object with objects in it: {', '.join(HOST_KEYS)}")
    for key in raw:
        if key not in HOST_KEYS:
            near = difflib.get_close_matches(str(key), HOST_KEYS, 1)
            raise wrong(str(key)[:80], f"absent; did you mean `{near[0]}`?" if near else "absent: it is no known key")
    values = {key: value for key, value in raw.items() if value is not None}
    address, account = values.get("address", name), values.get("user", user)
    if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
        raise wrong("address", HOST_KEYS["address"])
    if not isinstance(account, str) or not _USER.fullmatch(account):
        raise wrong("user", "the name of an account, here or as the skill's `user`")
    port = values.get("port", 22)
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise wrong("port", HOST_KEYS["port"])
    jump, jump_only = values.get("jump", ""), values.get("jump_only", False)
    if not isinstance(jump, str):
        raise wrong("jump", HOST_KEYS["jump"])
    if not isinstance(jump_only, bool):
        raise wrong("jump_only", "true or false")
    key = reference(skill, f"hosts.{name}.private_key", values.get("private_key")) or default_key
    if not key and not agent:
        raise wrong("private_key", "a secret's reference, here or of the skill; or set the skill's `agent` to true")
    return SshHost(name, address, port, account, _host_keys(values.get("host_key"), wrong), jump, jump_only, key)


def _host_keys(raw: Any, wrong: Any) -> tuple[tuple[str, str], ...]:
    keys = []
    for one in raw if isinstance(raw, (list, tuple)) else [raw]:
        match = _HOST_KEY.fullmatch(one.strip()) if isinstance(one, str) else None
        try:
            if match is None or not base64.b64decode(match[2], validate=True):
                raise ValueError
        except (ValueError, binascii.Error):
            raise wrong("host_key", f"{HOST_KEYS['host_key']}. To see it: ssh-keyscan ADDRESS") from None
        keys.append((match[1], match[2]))
    if not keys:
        raise wrong("host_key", HOST_KEYS["host_key"])
    return tuple(keys)


def _check_jumps(skill: Skill, host: SshHost, hosts: Mapping[str, SshHost]) -> None:
    seen, at = [host.name], host
    while at.jump:
        if at.jump not in hosts or at.jump in seen or len(seen) > MOST_JUMPS:
            raise ConfigurationError(
                f"skill {skill.name!r} ({skill.type}): the host {at.name!r}: `jump` {at.jump[:80]!r} must be another "
                f"host of `hosts`, and at most {MOST_JUMPS} may follow each other",
                remedy="Name a host that is reached directly, or leave `jump` out",
            )
        at = hosts[at.jump]
        seen.append(at.name)


def _groups(skill: Skill, hosts: Mapping[str, SshHost]) -> dict[str, tuple[str, ...]]:
    raw = skill.configuration.get("groups")
    if raw is None:
        return {}
    groups = {}
    for name, members in raw.items() if isinstance(raw, Mapping) else [("groups", None)]:
        usable = isinstance(members, (list, tuple)) and members and all(isinstance(one, str) for one in members)
        if not usable or members is None or not _NAME.fullmatch(str(name)) or name in hosts:
            raise skill.wrong("groups", "an object: a name that no host has, then a list of hosts")
        missing = [one for one in members if one not in hosts or hosts[one].jump_only]
        if missing:
            raise skill.wrong("groups", f"lists of hosts on which programs may run; {missing[0]!r} is none of them")
        groups[str(name)] = tuple(dict.fromkeys(members))
    return groups
