"""This module finds credentials that a definition holds in the open, and puts references in their place. Pure.

What counts is certain: a credential-like name, the shape of a known service's key, a DSN's password. Long mixed text,
which is hidden in results too, does not: it may be a digest, and a definition must not be refused for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from kubiya_worker import credentials

Object = dict[str, Any]
Place = tuple[str | int, ...]
PARTS: Final = frozenset({"skill", "mcp_server"})  # kinds of objects that definitions name
_OF_RECORDS: Final = frozenset({"id", "organization_id", "name", "created_at", "updated_at", "applied_from"})
SERVERS: Final = ("mcp_servers", "mcpServers")
FOLDERS: Final = "agent_skills"  # a skill that carries instructions and scripts, which tell of passwords all day
_PAIR: Final = re.compile(r"(-{0,2}[A-Za-z_][\w.-]*)=(.+)", re.DOTALL)
_HEADER: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*)\s*:\s+(\S.*)")
_VARIABLE: Final = re.compile(r"(?:[A-Za-z]+ )?\$\{[^}]+\}")  # `${NAME}` of an MCP server's settings: a reference, too


@dataclass(frozen=True)
class OpenCredential:
    """A credential at `place` of a definition; `secret` is a name for it."""

    place: Place
    secret: str
    value: str = field(repr=False)


def found_in(definition: Mapping[str, Any], kind: str = "") -> list[OpenCredential]:
    """Return the credentials of a definition: its variables, MCP servers, skills' configuration and channel.

    A stored skill or MCP server is one itself: `kind` says so.
    """
    if kind in PARTS:
        name = str(definition.get("name"))
        settings = {key: value for key, value in definition.items() if key not in _OF_RECORDS}
        whole: Object = (
            {"skills": [definition]} if kind == "skill" else {"configuration": {SERVERS[0]: {name: settings}}}
        )
        depth = 2 if kind == "skill" else 3  # of the object in `whole`
        return [replace(one, place=one.place[depth:]) for one in found_in(whole)]
    exposed: list[OpenCredential] = []
    environment = definition.get("execution_environment")
    if isinstance(environment, Mapping):
        place: Place = ("execution_environment",)
        exposed += _pairs(environment.get("env_vars"), (*place, "env_vars"), "")
        exposed += _servers(environment.get("mcp_servers"), (*place, "mcp_servers"))
    for key in ("configuration", "config"):
        configuration = definition.get(key) or {}
        for servers in SERVERS:
            exposed += _servers(configuration.get(servers), (key, servers))
    reply = definition.get("reply")  # of a hook
    if isinstance(reply, Mapping):
        exposed += _pairs(reply.get("headers"), ("reply", "headers"), "hook")
    for number, skill in enumerate(definition.get("skills") or ()):
        about = str(skill.get("name") or skill.get("type") or "skill")
        configuration = skill.get("configuration")
        if skill.get("type") == FOLDERS and isinstance(configuration, Mapping):
            place = ("skills", number, "configuration", "files")
            exposed += _texts(configuration.get("files"), place, about)
            configuration = {key: value for key, value in configuration.items() if key != "files"}
        exposed += _pairs(configuration, ("skills", number, "configuration"), about)
    exposed += _pairs(definition.get("channel"), ("channel",), "notification")
    return exposed


def in_fields(fields: Mapping[str, Any], about: str) -> list[OpenCredential]:
    """Return the credentials of any object's fields; `about` begins the names of their secrets."""
    return list(_pairs(fields, (), about))


def problem_text(credential: OpenCredential) -> str:
    """Return what a person does about a credential; the value is not in it."""
    return (
        f"A credential in the open. Store it with: kubiya secrets set {credential.secret}, "
        f"and write {{{{.secret.{credential.secret}}}}} in its place"
    )


def replaced(definition: Object, credential: OpenCredential, name: str) -> Object:
    """Return the definition with the reference to the secret `name` in place of the credential."""
    reference = f"{{{{.secret.{name}}}}}"
    changed: Object = _at(definition, credential.place, lambda text: str(text).replace(credential.value, reference))
    return changed


def _at(value: Any, place: Place, change: Callable[[Any], Any]) -> Any:
    if not place:
        return change(value)
    step = place[0]
    if isinstance(value, Mapping):
        return {**value, step: _at(value[step], place[1:], change)}
    return [_at(one, place[1:], change) if number == step else one for number, one in enumerate(value)]


def _servers(servers: Any, place: Place) -> Iterator[OpenCredential]:
    for name, server in servers.items() if isinstance(servers, Mapping) else ():
        for key, value in server.items() if isinstance(server, Mapping) else ():
            if key == "args":
                yield from _arguments(value, (*place, name, key), str(name))
            else:
                yield from _pairs({key: value}, (*place, name), str(name))


def _arguments(arguments: Any, place: Place, about: str) -> Iterator[OpenCredential]:
    """Yield the credentials of a command line: `--token X`, `--token=X`, `X-Api-Key: X`, a DSN."""
    words = [str(one) for one in arguments] if isinstance(arguments, (list, tuple)) else []
    for number, argument in enumerate(words):
        pair = _PAIR.fullmatch(argument)
        pair_or_header = _HEADER.fullmatch(pair[2] if pair else argument) or pair
        if pair_or_header:
            name, value = pair_or_header[1], pair_or_header[2]
        else:
            before = words[number - 1] if number else ""
            flag = before.startswith("-") and "=" not in before and not argument.startswith("-")
            name, value = (before if flag else "argument"), argument
        for secret in _certain(name, value):
            yield OpenCredential((*place, number), _named(about, name), secret)


def _pairs(value: Any, place: Place, about: str) -> Iterator[OpenCredential]:
    """Yield the credentials of an object's texts, by their keys; lists have the key that they stand at."""
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield from _pairs(member, (*place, str(key)), about)
    elif isinstance(value, (list, tuple)):
        for number, entry in enumerate(value):
            yield from _pairs(entry, (*place, number), about)
    elif isinstance(value, (str, int)) and not isinstance(value, bool):
        key = next(step for step in reversed(place) if isinstance(step, str))
        for secret in _certain(key, str(value)):
            yield OpenCredential(place, _named(about, key), secret)


def _texts(files: Any, place: Place, about: str) -> Iterator[OpenCredential]:
    """Yield the keys of known services in texts. Names such as `password=` say nothing there: they are examples."""
    for path, text in files.items() if isinstance(files, Mapping) else ():
        for secret in credentials.shaped(str(text)):
            yield OpenCredential((*place, str(path)), _named(about, str(path)), secret)


def _certain(name: str, value: str) -> list[str]:
    if _VARIABLE.fullmatch(value):
        return []
    return [one for one in credentials.certain(name, value) if len(one) >= credentials.SHORTEST and one in value]


def _named(about: str, key: str) -> str:
    """Return a name for a secret, such as TRACKER_AUTHORIZATION."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", f"{about}_{key}").strip("_").upper()[:90] or "SECRET"
    return name if not name[0].isdigit() else f"S_{name}"
