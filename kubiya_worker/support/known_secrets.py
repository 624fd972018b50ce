"""The secrets that this host knows: values that must not be in a bundle, and where each was found.

They are searched for in every place where a worker could find one, even if another place overrides it or a file is not
valid: in variables (of this shell and of running workers), in files that variables name, in the configuration file, in
the local stack's folder, and in the folders of services. A file that cannot be read is skipped; it cannot be packed
either.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from kubiya_worker.credentials import SHORTEST, certain, may_be_secret
from kubiya_worker.settings import cli_context
from kubiya_worker.settings.file import VARIABLE
from kubiya_worker.settings.table import OPTIONS
from kubiya_worker.tools.redaction import REDACTED

LARGEST: Final = 65_536  # bytes of a file that is one secret
PRIVATE_FILES: Final = ("dev/key", "services/*/*")  # below ~/.kubiya
PROXY_FILE: Final = "KUBIYA_PROXY_CONFIG_FILE"  # a LiteLLM configuration, which often has keys in it
PROXY_JSON: Final = "KUBIYA_PROXY_CONFIG_JSON"
OF_SERVICES: Final = "/etc/kubiya-worker"
_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/@]+@[^\s\"']+", re.IGNORECASE)
_NAMES: Final = frozenset(name for option in OPTIONS if option.secret for name in option.env)
_KEYS: Final = frozenset(option.key for option in OPTIONS if option.secret and option.key)


@dataclass(frozen=True)
class Secret:
    """A secret value. `source` tells people where it was found: a variable, or a file and its line."""

    value: str = field(repr=False)
    source: str


def collect(environs: Mapping[str, Mapping[str, str]], config: Path | None, home: Path) -> list[Secret]:
    """Return all known secrets, each value once.

    The keys of `environs` name the owner of each environment; `home` is ~/.kubiya.
    """
    secrets: list[Secret] = []
    for whose, environ in environs.items():
        secrets += of_environment(environ, whose)
    if config is not None:
        secrets += of_config(config, environs.values())
    named = [environ.get(cli_context.VARIABLE, "").strip() for environ in environs.values()]
    for path in dict.fromkeys([home / "config", *(Path(name).expanduser() for name in named if name)]):
        secrets += of_config(path, environs.values())
    for environ in environs.values():
        if environ.get(PROXY_FILE, "").strip():
            secrets += of_config(Path(environ[PROXY_FILE].strip()).expanduser(), environs.values())
        secrets += of_text(environ.get(PROXY_JSON, ""), PROXY_JSON, environs.values())
    for pattern in PRIVATE_FILES:
        secrets += (secret for path in _glob(home, pattern) for secret in of_file(path, str(path)))
    secrets += (secret for path in _glob(Path(OF_SERVICES), "*/*") for secret in of_file(path, str(path)))
    return unique(secrets)


def unique(secrets: Iterable[Secret]) -> list[Secret]:
    """Keep each value once, with its first source. Very short values are dropped: they would match innocent text."""
    by_value: dict[str, Secret] = {}
    for secret in secrets:
        value = secret.value.strip()
        if len(value) >= SHORTEST and value not in REDACTED:
            by_value.setdefault(value, Secret(value, secret.source))
    return list(by_value.values())


def of_environment(environ: Mapping[str, str], whose: str) -> Iterator[Secret]:
    """Yield variables with a secret's name, the files that they name, and passwords inside addresses."""
    for name, value in environ.items():
        source = f"{name} ({whose})"
        if name in _NAMES or may_be_secret(name, value):
            if _is_place(name, value):
                yield from of_file(Path(value.strip()).expanduser(), source)
            else:
                yield Secret(value, source)
        elif not _is_place(name, value):
            yield from (Secret(part, source) for part in certain(name, value))
        yield from of_addresses(value, source)


def is_secrets(name: str) -> bool:
    """Return whether a variable of this name holds a secret, or (with `_FILE`) names the file of one."""
    return name.removesuffix("_FILE") in _NAMES or may_be_secret(name)


def of_container(variables: Mapping[str, str], files: Mapping[str, bytes], owner: str) -> Iterator[Secret]:
    """Yield the secrets of a worker in a container.

    Paths in its variables belong to its own file system; `files` has their contents. So its log, too, is cleaned of
    them in each form that the redactor knows.
    """
    for name, value in variables.items():
        source = f"{name} ({owner})"
        if is_secrets(name) and not name.endswith("_FILE") and name not in files:
            yield Secret(value, source)
        yield from of_addresses(value, source)
    for name, content in files.items():
        yield Secret(content.decode("utf-8", "replace"), f"{name} ({owner})")


def of_addresses(text: str, source: str) -> Iterator[Secret]:
    """Yield the part before the @ of addresses: passwords, and tokens in the place of a user."""
    for match in _ADDRESS.finditer(text):
        try:
            parts = urlsplit(match[0])
            user, password = parts.username or "", parts.password
        except ValueError:
            continue
        if password is None and not parts.scheme.lower().endswith(("http", "https")):
            continue  # ssh://git@…
        value = user if password is None else password
        yield Secret(value, source)
        yield Secret(unquote(value), source)


def of_file(path: Path, source: str) -> Iterator[Secret]:
    """Yield the whole content of a regular file; reading a pipe would block."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return
        yield Secret(path.read_text(encoding="utf-8", errors="replace"), source)
    except OSError:
        return


def of_config(path: Path, environs: Iterable[Mapping[str, str]]) -> Iterator[Secret]:
    """Yield the secrets of a configuration file, also when the file is not valid.

    These are the values of secret keys, of keys that look like one, and of every `${file:…}`.
    """
    try:
        yield from of_text(path.read_text(encoding="utf-8", errors="replace"), path, environs)
    except OSError:
        return


def of_text(text: str, path: Path | str, environs: Iterable[Mapping[str, str]]) -> Iterator[Secret]:
    """Yield the secrets of YAML text that was read from somewhere."""
    import yaml

    yield from of_addresses(text, str(path))
    environs = list(environs)
    for match in VARIABLE.finditer(text):
        if match[1]:
            yield from of_file(Path(match[1]).expanduser(), f"{path}: ${{file:{match[1]}}}")
    try:
        document = yaml.compose(text)
    except yaml.YAMLError:
        for number, line in enumerate(text.splitlines(), 1):
            name, colon, value = line.partition(":")
            if colon and may_be_secret(name):
                yield Secret(value.strip().strip("\"'"), f"{path}:{number}")
        return
    for key, node in _scalars(document, ""):
        if key in _KEYS or may_be_secret(key):
            source = f"{path}:{node.start_mark.line + 1}"
            yield Secret(node.value, source)
            for match in VARIABLE.finditer(node.value):
                yield from (Secret(environ[match[2]], source) for environ in environs if match[2] in environ)


def _scalars(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, scalar node) of a YAML document."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = getattr(key, "value", "")
            yield from _scalars(value, f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _scalars(value, prefix)
    elif isinstance(node, yaml.ScalarNode):
        yield prefix, node


def _is_place(name: str, value: str) -> bool:
    """Return whether the value is a path. The path may be shown, the file's content may not."""
    value = value.strip()
    return name.endswith("_FILE") or (value.startswith(("/", "~/")) and len(value) < 4096 and _exists(value))


def _exists(value: str) -> bool:
    try:
        return Path(value).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False


def _glob(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []
