"""A person edits the arguments of a tool call in an editor, before approving it."""

from __future__ import annotations

import json
from typing import Any

import click

from kubiya_worker.errors import UsageError


def edit_arguments(arguments: dict[str, Any]) -> dict[str, Any] | None:
    """Let a person edit the arguments in $EDITOR. Return the new ones; None when nothing was changed.

    Raises UsageError when there is no editor, or it fails.
    """
    text = json.dumps(arguments, ensure_ascii=False, indent=2)
    while True:
        try:
            edited = click.edit(text + "\n", extension=".json")
        except (click.ClickException, OSError) as error:
            reason = error.format_message() if isinstance(error, click.ClickException) else str(error)
            raise UsageError(
                f"The editor failed: {reason}", remedy="Set EDITOR to an editor that is installed"
            ) from error
        if edited is None or edited.strip() == json.dumps(arguments, ensure_ascii=False, indent=2):
            return None
        try:
            parsed = json.loads(edited)
        except ValueError as error:
            click.echo(f"  That is not JSON: {error}", err=True)
            text = edited.rstrip("\n")
            if not click.confirm("  Edit again?", default=True, err=True):
                return None
            continue
        if isinstance(parsed, dict):
            return None if parsed == arguments else parsed
        click.echo("  Arguments are a JSON object", err=True)
