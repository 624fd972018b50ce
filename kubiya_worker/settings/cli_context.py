"""The Kubiya CLI's own configuration, `~/.kubiya/config` (KUBIYA_CONFIG): the key and URL of its current context.

A worker uses it only when no API key is given in another way. Then it uses both key and URL, because a key must not be
sent to the control plane of another context. The format is described in docs/protocol.md#f2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.settings.value_types import url

VARIABLE: Final = "KUBIYA_CONFIG"
DEFAULT_FILE: Final = Path("~/.kubiya/config")


@dataclass(frozen=True)
class CliContext:
    """A context of the Kubiya CLI. A field is None when the context does not set it.

    `where` tells people the file and the context's name. `proxy_file`, `proxy_json` and `model` belong to an LLM proxy
    that the context has switched on.
    """

    api_key: str = field(repr=False)
    api_url: str | None
    where: str
    proxy: bool = False
    proxy_file: str | None = None
    proxy_json: str | None = field(default=None, repr=False)
    model: str | None = None


def file_of(environ: Mapping[str, str]) -> Path | None:
    """Return the file to use: the one that the variable names, or the default one if it exists."""
    named = environ.get(VARIABLE, "").strip()
    try:
        path = Path(named or DEFAULT_FILE).expanduser()
    except RuntimeError:
        return None  # a user without a home
    return path if named or path.is_file() else None


def current(environ: Mapping[str, str]) -> CliContext | None:
    """Return the current context; None without a file or a current context. Raises ConfigurationError."""
    path = file_of(environ)
    if path is None:
        return None
    document = _read(path)
    name = str(document.get("current-context") or "")
    if not name:
        return None
    context = _find(document, "contexts", name, "context")
    if context is None:
        raise ConfigurationError(
            f"{path}: the current context {name!r} is not in the file", remedy="Correct current-context"
        )
    user = str(context.get("user") or "")
    token = str((_find(document, "users", user, "user") or {}).get("token") or "").strip()
    if not token:
        raise ConfigurationError(
            f"{path}: the context {name!r} has no user with a token", remedy="Set KUBIYA_API_KEY, or correct the file"
        )
    where = f"{path}: context {name}"
    proxy = context.get("litellm-proxy")
    if not isinstance(proxy, dict) or proxy.get("enabled") is not True:
        return CliContext(token, _url(context.get("api-url"), where), where)
    of_proxy = (str(proxy[key]) if proxy.get(key) else None for key in ("config-file", "config-json", "model"))
    return CliContext(token, _url(context.get("api-url"), where), where, True, *of_proxy)


def _read(path: Path) -> dict[str, Any]:
    import yaml  # slow to import, and not needed when a key is given

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}", remedy=f"Check {VARIABLE}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:  # the parser's message would quote a token
        raise ConfigurationError(
            f"{path} is not valid YAML", remedy="Correct the file, or set KUBIYA_API_KEY"
        ) from error
    if document is not None and not isinstance(document, dict):
        raise ConfigurationError(f"{path} has to be a mapping", remedy="Correct the file, or set KUBIYA_API_KEY")
    return document or {}


def _find(document: dict[str, Any], section: str, name: str, key: str) -> dict[str, Any] | None:
    rows = document.get(section)
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and str(row.get("name")) == name:
            value = row.get(key)
            return value if isinstance(value, dict) else {}
    return None


def _url(value: Any, where: str) -> str | None:
    if not value:
        return None
    try:
        return str(url(value))
    except ValueError as error:
        raise ConfigurationError(
            f"{where}: api-url {value!r} is not {error}",
            remedy="Correct it in that file, or set KUBIYA_CONTROL_PLANE_BASE_URL",
        ) from error
