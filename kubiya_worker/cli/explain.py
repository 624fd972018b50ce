"""`kubiya explain`: what a definition can say, and what each field of it is for."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import Final

import click

from kubiya_worker.cli import completion, explained, tables
from kubiya_worker.cli.explained import Explained
from kubiya_worker.cli.tables import field
from kubiya_worker.cli.terminal import Paint

_WIDEST: Final = 100  # columns of text


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", required=False, default="", shell_complete=completion.definition_fields)
@tables.output(default=tables.TEXT)
def explain(path: str, output: str) -> None:
    """Explain a kind of definition, or the field at PATH: KIND.FIELD, KIND.FIELD.FIELD, and so on.

    Without PATH, list the kinds.

    Example: kubiya explain agent.llm_config
    """
    explanation = explained.at(path)
    if output in (tables.JSON, tables.YAML):
        tables.dump(_object(explanation), output)
    elif output != tables.TEXT:
        rows = [{"field": each.name, "type": each.kind, "about": each.about} for each in explanation.fields]
        tables.show(rows, (field("field"), field("type"), field("about", most=80)), output)
    else:
        width = min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST)
        print("\n".join(lines(explanation, Paint.for_stream(sys.stdout), width)))


def lines(found: Explained, paint: Paint, width: int) -> list[str]:
    """Return what a person reads, in at most `width` columns."""
    head = [f"{paint.bold(found.path)} {paint.dim(_in_brackets(found))}".rstrip()] if found.path else []
    about = textwrap.wrap(found.about, width)
    names = [f"{each.name} {paint.dim(_in_brackets(each))}".rstrip() for each in found.fields]
    below: list[str] = []
    for name, each in zip(names, found.fields, strict=True):
        below += [f"  {name}", *textwrap.wrap(each.about, width, initial_indent=" " * 6, subsequent_indent=" " * 6)]
    deeper = next((each.path for each in found.fields if each.fields), "")
    hint = [paint.dim(f"More of one of them: kubiya explain {deeper}")] if deeper else []
    parts = [head + about, below, hint]
    return "\n\n".join("\n".join(part) for part in parts if part).split("\n")


def _in_brackets(each: Explained) -> str:
    return f"({each.kind})" if each.kind else ""


def _object(found: Explained) -> dict[str, object]:
    """Return what programs read: a field's own fields only, without those below them."""
    own = {"path": found.path, "type": found.type, "required": found.required, "about": found.about}
    below = [
        {"path": each.path, "type": each.type, "required": each.required, "about": each.about} for each in found.fields
    ]
    return {**own, "fields": below}
