"""`kubiya config`: show the settings that a worker on this host would get, and their sources."""

from __future__ import annotations

import difflib
import json
import os
import sys
from pathlib import Path

import click

from kubiya_worker.cli import tables
from kubiya_worker.cli.completion import files, options
from kubiya_worker.cli.options import config_file
from kubiya_worker.cli.tables import field
from kubiya_worker.cli.terminal import Paint
from kubiya_worker.errors import ConfigurationError, UsageError
from kubiya_worker.settings import describe, sources
from kubiya_worker.settings.table import OPTIONS, Option
from kubiya_worker.settings.unused_options import UNUSED_OPTIONS


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def config() -> None:
    """Show, explain and check the settings."""


@config.command()
@config_file
@click.option("--json", "as_json", is_flag=True, help="The same as -o json.")
@tables.output(default=tables.TEXT)
def show(config: str | None, as_json: bool, output: str) -> None:
    """Show what is set, with secrets hidden.

    Example: kubiya config show
    """
    set_here = [o for o in sources.origins({}, os.environ, config) if o.value is not None]
    if as_json or output in (tables.JSON, tables.YAML):
        values = {o.option.name: o.display if o.option.secret else o.value for o in set_here}
        print(json.dumps(values, ensure_ascii=False)) if as_json else tables.dump(values, output)
        return
    if output != tables.TEXT:
        rows = [{"name": o.option.name, "value": o.display, "source": o.source} for o in set_here]
        tables.show(rows, (field("name"), field("value", most=60), field("source", most=60)), output)
        return
    for origin in set_here:
        print(f"{origin.option.name}: {origin.display}")


@config.command()
@click.argument("name", required=False, shell_complete=options)
@config_file
def explain(name: str | None, config: str | None) -> None:
    """Show the source of each value, or everything about the option NAME.

    Example: kubiya config explain queue_id
    """
    paint = Paint.for_stream(sys.stdout)
    all_origins = sources.origins({}, os.environ, config)
    if name is None:
        width = max(len(o.option.name) for o in all_origins)
        for origin in all_origins:
            value = origin.display or paint.dim("not set")
            print(f"{origin.option.name:{width}}  {value}  {paint.dim(f'({origin.source})')}")
        return
    option = _find_option(name)
    origin = next(o for o in all_origins if o.option is option)
    print(f"{paint.bold(option.name)}: {option.help}")
    print(f"  is          {origin.display or 'not set'}  ({origin.source})")
    print(f"  takes       {option.parse.wanted}")
    for place, names in (("flag", [option.flag]), ("environment", option.env), ("file", [option.key])):
        places = ", then ".join(n for n in names if n)
        if places:
            print(f"  {place:11} {places}")
    print(paint.dim("  The order is: flag, environment, file, default; the first that is set wins."))


def _find_option(name: str) -> Option:
    """Find an option by its name, flag, variable or key. Raises UsageError."""
    for option in OPTIONS:
        if name in (option.name, option.flag, option.key, *option.env):
            return option
    for entry in UNUSED_OPTIONS:
        if name in (entry.name, entry.flag) or entry.has(name):
            raise UsageError(f"{name} is not for this worker: {entry.why}", remedy=entry.remedy)
    names = [n for o in OPTIONS for n in (o.name, o.flag, o.key, *o.env) if n]
    near = difflib.get_close_matches(name, names, 1)
    remedy = f"Did you mean {near[0]}?" if near else "kubiya config explain lists them"
    raise UsageError(f"There is no option {name!r}", remedy=remedy)


@config.command()
@click.argument("file", required=False, shell_complete=files)
def validate(file: str | None) -> None:
    """Check a configuration file together with the environment.

    Example: kubiya config validate
    """
    path = sources.file_of(file)
    if path is None:
        raise ConfigurationError(
            f"There is no {sources.DEFAULT_FILE}", remedy="Name a file, or make one with kubiya config init"
        )
    count = sources.validate(path, os.environ)
    print(f"{path}: valid, {count} setting{'s' if count != 1 else ''}")


@config.command()
@click.argument("file", required=False, shell_complete=files)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(file: str | None, force: bool) -> None:
    """Write a configuration file that has every key, commented out.

    Example: kubiya config init
    """
    path = Path(file or sources.DEFAULT_FILE).expanduser()
    if path.exists() and not force:
        raise UsageError(f"{path} is there already", remedy="Edit it, or replace it with --force")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            out.write(describe.example())
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}", remedy="Check the folder and the disk"
        ) from error
    print(path)


@config.command()
def schema() -> None:
    """Print the JSON schema of the configuration file, for editors.

    Example: kubiya config schema > schema.json
    """
    print(json.dumps(describe.json_schema(), indent=2))
