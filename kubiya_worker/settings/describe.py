"""The table of options in other forms: a JSON schema, an example file, a reference page. Pure."""

from __future__ import annotations

from typing import Any

from kubiya_worker.settings.file import text_of
from kubiya_worker.settings.table import OPTIONS, Option
from kubiya_worker.settings.unused_options import UNUSED_OPTIONS


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of the configuration file, for editors."""
    root = _object("Kubiya Worker configuration")
    for option in OPTIONS:
        if option.key is None:
            continue
        *sections, name = option.key.split(".")
        node = root
        for section in sections:
            node = node["properties"].setdefault(section, _object(None))
        schema: dict[str, Any] = {"description": option.help}
        if option.default is not None:
            schema["default"] = option.default
        variable = {"type": "string", "pattern": r"\$\{[^}]+\}"}
        node["properties"][name] = {**schema, "anyOf": [option.parse.schema, variable]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root}


def _object(title: str | None) -> dict[str, Any]:
    """Return the schema of a section. It may be null: a section whose lines are all commented out is null in YAML."""
    kind = "object" if title else ["object", "null"]
    return {**({"title": title} if title else {}), "type": kind, "additionalProperties": False, "properties": {}}


def example() -> str:
    """Return a configuration file with every key, commented out."""
    lines = ["# Kubiya Worker. Flags and environment variables win over this file.", "# ${VAR} and ${file:/path} work."]
    section = ""
    keyed = [(*option.key.rpartition("."), option) for option in OPTIONS if option.key]
    for head, _, name, option in sorted(keyed, key=lambda row: row[0]):  # stable: within a section the table's order
        if head != section:
            section = head
            lines += ["", f"{head}:"]
        lines.append(f"{'  ' if head else ''}{_example_line(option, name)}")
    return "\n".join(lines) + "\n"


def _example_line(option: Option, name: str) -> str:
    if option.secret:
        return f"# {name}: ${{{option.env[0]}}}  # {option.help}"
    value = "" if option.default is None else f" {text_of(option.default)}"
    return f"# {name}:{value}  # {option.help}"


def reference() -> str:
    """Return the options as a Markdown table."""
    rows = ["| option | flag | environment | file | default |", "|---|---|---|---|---|"]
    for option in OPTIONS:
        names = (option.flag, ", ".join(option.env), option.key)
        flag, env, key = (f"`{name}`" if name else "" for name in names)
        env = ", ".join(f"`{name}`" for name in option.env) + (" or `…_FILE`" if option.secret else "")
        default = "" if option.default is None else f"`{text_of(option.default)}`"
        rows.append(f"| {option.help} | {flag} | {env} | {key} | {default} |")
    return "\n".join(rows) + "\n"


def foreign_reference() -> str:
    """Return a Markdown table of options that other programs accept and this worker does not."""
    rows = ["| flag | environment | | why, and what instead |", "|---|---|---|---|"]
    for entry in UNUSED_OPTIONS:
        env = ", ".join(f"`{name}`" for name in entry.env)
        flag = f"`{entry.flag}`" if entry.flag else ""
        word = "refused" if entry.refused or not entry.env else "refused, told" if entry.flag else "told"
        rows.append(f"| {flag} | {env} | {word} | {entry.says}. {entry.remedy} |")
    return "\n".join(rows) + "\n"
