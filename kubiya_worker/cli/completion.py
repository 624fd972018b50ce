"""`kubiya completion`, and the completion of arguments: from this host, and from the control plane if it answers.

The control plane gets half a second to answer, and no failure is ever shown: a person who types wants no error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from kubiya_worker.errors import ConfigurationError, WorkerError

SHELLS: Final = ("bash", "zsh", "fish")
VARIABLE: Final = "_KUBIYA_COMPLETE"  # as click derives it from the program's name
PATIENCE: Final = 0.5  # seconds
HELP: Final = 60  # characters
# Where the control plane lists them, by what commands call them.
LISTS: Final = {
    "agents": "/agents",
    "skills": "/skills",
    "mcp-servers": "/mcp-servers",
    "models": "/stored-models",
    "teams": "/teams",
    "rules": "/approval-rules",
    "queues": "/worker-queues",
    "environments": "/environments",
    "jobs": "/jobs",
    "notifications": "/notifications",
    "hooks": "/hooks",
    "secrets": "/secrets",
    "keys": "/keys",
    "workers": "/workers",
    "approvals": "/approvals?status=pending",
    "runs": "/executions?summary=true&limit=50",
}
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.option("--install", is_flag=True, help="Write it, and the man page, where this user's shell and man look.")
def completion(shell: str, install: bool) -> None:
    """Print the code that completes `kubiya` commands in a shell.

    bash, in ~/.bashrc: eval "$(kubiya completion bash)"

    zsh, in ~/.zshrc after compinit: eval "$(kubiya completion zsh)"

    fish: kubiya completion fish > ~/.config/fish/completions/kubiya.fish

    Example: kubiya completion bash --install
    """
    if install:
        _install(shell)
        return
    click.echo(code(shell))


def code(shell: str) -> str:
    shell_class = get_completion_class(shell)
    assert shell_class is not None
    return shell_class(click.Group(), {}, "kubiya", VARIABLE).source().strip()


def user_files(environ: Mapping[str, str]) -> dict[str, Path]:
    """Return where a user's shells and `man` look without being told, by the shell's name and "man"."""
    home = Path(environ.get("HOME") or Path.home())
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local/share")
    configuration = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return {
        "bash": data / "bash-completion/completions/kubiya",
        "zsh": data / "zsh/site-functions/_kubiya",
        "fish": configuration / "fish/completions/kubiya.fish",
        "man": data / "man/man1/kubiya.1",
    }


def is_ours(path: Path) -> bool:
    """Return whether `--install` wrote this file: it names our variable, or is our man page."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return VARIABLE in text or '\n.TH KUBIYA 1 "" "Kubiya Worker ' in text


def _install(shell: str) -> None:
    from kubiya_worker import __version__
    from kubiya_worker.cli import reference

    places = user_files(os.environ)
    for name, text in ((shell, code(shell)), ("man", reference.man(__version__).strip())):
        path = places[name]
        if (path.is_symlink() or path.exists()) and not is_ours(path):
            raise ConfigurationError(f"{path} was not written by kubiya; it was not touched", remedy="Move it away")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(
                f"{path} cannot be written: {error.strerror}",
                remedy=f"Check the owner and mode of {path.parent}, and the disk",
            ) from error
        click.echo(f"wrote {path}")
    if shell == "zsh":
        click.echo(f"in ~/.zshrc before compinit: fpath=({places['zsh'].parent} $fpath)", err=True)


def queues(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete queues that have a worker on this host."""
    from kubiya_worker.launch import home as homes

    try:
        known = {home.queue for home in homes.homes()}
    except (WorkerError, OSError):
        return []
    return [CompletionItem(name) for name in sorted(known) if name.startswith(incomplete)]


def names(*kinds: str) -> Complete:
    """Complete names of objects that the control plane has, such as `agents`."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        rows = (row for kind in kinds for row in _asked(LISTS[kind]))
        return _items(((str(row.get("name") or ""), str(row.get("description") or "")) for row in rows), incomplete)

    return complete


def ids(kind: str, *about: str) -> Complete:
    """Complete ids of objects that the control plane has, with a few of their fields as help."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        rows = _asked(LISTS[kind])
        pairs = ((str(row.get("id")), " ".join(str(row.get(name) or "") for name in about)) for row in rows)
        return _items(pairs, incomplete)

    return complete


def _items(candidates: Iterable[tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    begun = incomplete.lower()
    fits = {name: help for name, help in candidates if name and name.lower().startswith(begun)}
    return [CompletionItem(name, help=" ".join(help.split())[:HELP] or None) for name, help in fits.items()]


def _asked(path: str) -> list[dict[str, Any]]:
    """Return a list of the control plane; empty when there is no answer in time, for whatever reason."""
    try:
        from kubiya_worker.cli.connection import connect

        answer = connect().ask("GET", path, timeout=(PATIENCE, PATIENCE))
        rows = answer if isinstance(answer, list) else next((v for v in answer.values() if isinstance(v, list)), [])
        return [row for row in rows if isinstance(row, dict)]
    except Exception:
        return []


def options(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete names of settings."""
    from kubiya_worker.settings.table import OPTIONS

    return [CompletionItem(o.name, help=o.help) for o in OPTIONS if o.name.startswith(incomplete)]


def definition_fields(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a path of `kubiya explain`, by one name at a time."""
    from kubiya_worker.cli import explained

    above, dot, begun = incomplete.rpartition(".")
    try:
        below = explained.at(above).fields
    except WorkerError:
        return []
    return [
        CompletionItem(f"{above}{dot}{each.name}", help=each.about[:HELP])
        for each in below
        if each.name.lower().startswith(begun.lower())
    ]


def files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell itself complete files."""
    return [CompletionItem(incomplete, type="file")]


def names_or_files(*kinds: str) -> Complete:
    """Complete names of objects that the control plane has, and files."""
    named = names(*kinds)

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [*named(ctx, parameter, incomplete), *files(ctx, parameter, incomplete)]

    return complete


def words(*known: str) -> Complete:
    """Complete one of a few words, in upper or lower case."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in known if word.lower().startswith(incomplete.lower())]

    return complete


runs: Final = ids("runs", "status", "entity_name", "prompt")
levels: Final = words("DEBUG", "INFO", "WARNING", "ERROR")
