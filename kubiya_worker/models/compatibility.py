"""This module holds settings for OpenAI-compatible endpoints that take fewer or other fields than OpenAI's server.
Pure.

They come from three places; the later one wins, key by key:

1. the worker: the YAML file that KUBIYA_MODEL_COMPATIBILITY names, for all endpoints or for one under `endpoints`
2. a route: `compatibility` beside `litellm_params` in the model_list (models/routes.py)
3. an agent: `compatibility` in its llm_config
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from kubiya_worker import credentials
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.models.configuration_file import text_of
from kubiya_worker.protocol.model_entries import HEADER_VARIABLES

KEYS: Final = {
    "stream": "`false` asks for the whole answer at once: for servers whose streams are broken",
    "stream_options": "`false` leaves out `stream_options`; the endpoint then may not say how many tokens a call took",
    "tool_choice": "`auto` sends it, `omit` leaves it out",
    "max_tokens_field": "How the endpoint calls the limit: `max_tokens` or `max_completion_tokens`",
    "extra_body": "A map of fields that are added to the body of each request",
    "extra_headers": "A map of headers; `${NAME}` stands for a variable of the worker",
}
AUTO: Final = "auto"
OMIT: Final = "omit"
LIMITS: Final = ("max_tokens", "max_completion_tokens")
ENDPOINTS: Final = "endpoints"

SHORTEST_SECRET: Final = 8  # characters

_OURS: Final = frozenset({"model", "messages", "tools", "stream", "stream_options", "n"})
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NOT_HEADERS: Final = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection"})
_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}|^os\.environ/([A-Za-z_][A-Za-z0-9_]*)$")


@dataclass(frozen=True)
class Compatibility:
    """The deviations of an endpoint; None and an empty map mean the usual request.

    `secrets` are values of headers that no message may show: those of variables, and those that are credentials.
    """

    stream: bool | None = None
    stream_options: bool | None = None
    tool_choice: str | None = None
    max_tokens_field: str | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    extra_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def with_(self, other: Compatibility) -> Compatibility:
        """Return these settings replaced by those of `other`, the two maps key by key."""
        merged: dict[str, Any] = {}
        for option in fields(self):
            mine, theirs = getattr(self, option.name), getattr(other, option.name)
            merged[option.name] = (
                {**mine, **theirs} if isinstance(mine, Mapping) else mine if theirs is None else theirs
            )
        merged["secrets"] = (*self.secrets, *other.secrets)
        return Compatibility(**merged)

    def wire(self) -> str:
        """Return all settings as one line of text, which differs for different settings."""
        return json.dumps(
            {option.name: getattr(self, option.name) for option in fields(self)}, sort_keys=True, default=str
        )


NOTHING: Final = Compatibility()


def parse(raw: Any, where: str, environ: Mapping[str, str], *, agent: bool = False) -> Compatibility:
    """Read a mapping of KEYS; raise ConfigurationError with the key that is unknown or has a wrong value.

    With `agent`, for agents and stored models, the author may not be the person who runs the worker. Then a reference
    may only name KUBIYA_MODEL_HEADER_…, and a header that looks like a credential must be such a reference, since an
    agent's configuration is stored with its runs.
    """
    if raw is None:
        return NOTHING
    if not isinstance(raw, Mapping):
        raise _wrong(where, f"has to be a mapping, not {raw!r}")
    for key in raw:
        if key not in KEYS:
            raise ConfigurationError(f"{where}: there is no setting {key!r}", remedy=f"There are: {', '.join(KEYS)}")
    for key in ("stream", "stream_options"):
        if not isinstance(raw.get(key), (bool, type(None))):
            raise _wrong(f"{where}.{key}", f"has to be true or false, not {raw[key]!r}")
    choice = raw.get("tool_choice")
    if choice not in (None, AUTO, OMIT):
        raise _wrong(f"{where}.tool_choice", f"has to be {AUTO} or {OMIT}, not {choice!r}: others end no conversation")
    limit = raw.get("max_tokens_field")
    if limit not in (None, *LIMITS):
        raise _wrong(f"{where}.max_tokens_field", f"has to be {' or '.join(LIMITS)}, not {limit!r}")
    written = raw.get("extra_headers") or {}
    headers = _headers(raw.get("extra_headers"), f"{where}.extra_headers", environ, agent=agent)
    return Compatibility(
        stream=raw.get("stream"),
        stream_options=raw.get("stream_options"),
        tool_choice=choice,
        max_tokens_field=limit,
        extra_body=_body(raw.get("extra_body"), f"{where}.extra_body"),
        extra_headers=headers,
        secrets=tuple(value for name, value in headers.items() if _is_secret(name, str(written[name]), value)),
    )


def of_agent(model_config: Mapping[str, Any], environ: Mapping[str, str]) -> Compatibility:
    """Read `compatibility` of an agent's model_config."""
    return parse(model_config.get("compatibility"), "compatibility of the agent's model_config", environ, agent=True)


def for_headers(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that an agent's headers may refer to."""
    return {name: value for name, value in environ.items() if name.startswith(HEADER_VARIABLES)}


def _body(raw: Any, where: str) -> dict[str, Any]:
    if raw is None:
        return {}
    if not isinstance(raw, Mapping) or not all(isinstance(key, str) for key in raw):
        raise _wrong(where, f"has to be a mapping with names as keys, not {raw!r}")
    for key in raw:
        if key in _OURS:
            raise _wrong(f"{where}.{key}", "is the worker's own; it cannot be replaced")
    return dict(raw)


def _headers(raw: Any, where: str, environ: Mapping[str, str], *, agent: bool) -> dict[str, str]:
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise _wrong(where, "has to be a mapping of names to values")
    headers: dict[str, str] = {}
    for name, value in raw.items():
        place = f"{where}.{name}"
        if not isinstance(name, str) or not _HEADER.fullmatch(name) or name.lower() in _NOT_HEADERS:
            raise _wrong(place, "is no header that can be set")
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise _wrong(place, "has to be a text")
        text = str(value)
        if agent and credentials.in_header(name, text) and not _REFERENCE.search(text):
            raise ConfigurationError(
                f"{place}: a stored definition must not hold a credential",
                remedy=f"Export {HEADER_VARIABLES}NAME on the worker, and write ${{{HEADER_VARIABLES}NAME}}",
            )
        expanded = _expanded(text, place, environ, agent=agent)
        if not expanded.isprintable() or not expanded.isascii():
            raise _wrong(place, "holds a character that a header cannot hold")
        headers[name] = expanded
    return headers


def _is_secret(name: str, written: str, value: str) -> bool:
    """Return whether a header's value must be hidden. A title or an address need not: messages hold its words."""
    long_enough = len(value) >= SHORTEST_SECRET  # ordinary words hold shorter ones
    return long_enough and (_REFERENCE.search(written) is not None or credentials.in_header(name, written))


def _expanded(text: str, place: str, environ: Mapping[str, str], *, agent: bool) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if agent and not name.startswith(HEADER_VARIABLES):
            raise ConfigurationError(
                f"{place}: agents and stored models may not use the worker's variable {name}",
                remedy=f"Name the variable {HEADER_VARIABLES}… on the worker",
            )
        if not environ.get(name):
            raise ConfigurationError(f"{place}: the variable {name} is not set", remedy=f"export {name}=…")
        return environ[name]

    return _REFERENCE.sub(value, text)


@dataclass(frozen=True)
class Endpoints:
    """The worker's settings: those for every endpoint, and on top those for single ones under `endpoints`."""

    common: Compatibility = NOTHING
    single: Mapping[str, Compatibility] = field(default_factory=dict)

    def of(self, base_url: str) -> Compatibility:
        """Return the settings for an endpoint; it is named by its URL, or by its host with or without a port."""
        parts = urlsplit(base_url)
        chosen = self.common
        for name in (parts.hostname or "", parts.netloc.rpartition("@")[2], base_url.rstrip("/")):
            chosen = chosen.with_(self.single.get(name, NOTHING))
        return chosen

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(secret for each in (self.common, *self.single.values()) for secret in each.secrets)


def load(path: str | None, environ: Mapping[str, str]) -> Endpoints:
    """Read the file that KUBIYA_MODEL_COMPATIBILITY names; raise ConfigurationError when it is wrong."""
    if not path:
        return Endpoints()
    import yaml  # JSON is YAML

    where = str(Path(path).expanduser())
    text = text_of(where)
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:  # do not show the YAML error: it quotes the line, which may hold a key
        raise ConfigurationError(
            f"{where} is not valid YAML or JSON", remedy="See docs/models.md for an example"
        ) from error
    if not isinstance(document, Mapping):
        raise _wrong(where, "has to be a mapping")
    single = document.get(ENDPOINTS) or {}
    if not isinstance(single, Mapping):
        raise _wrong(f"{where}: {ENDPOINTS}", "has to be a mapping of URLs or hosts to settings")
    common = {key: value for key, value in document.items() if key != ENDPOINTS}
    return Endpoints(
        parse(common, where, environ),
        {str(name).rstrip("/"): parse(raw, f"{where}: {ENDPOINTS}[{name}]", environ) for name, raw in single.items()},
    )


def _wrong(where: str, what: str) -> ConfigurationError:
    shown = what if len(what) <= 200 else f"{what[:200]}…"
    return ConfigurationError(f"{where} {shown}", remedy="See docs/models.md, compatibility settings")
