"""`kubiya completion`, and the completion of options: only from this host's data, without the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from kubiya_worker.errors import WorkerError

SHELLS: Final = ("bash", "zsh", "fish")
VARIABLE: Final = "_KUBIYA_COMPLETE"  # as click derives it from the program's name
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the code that completes `kubiya` commands in a shell.

    bash, in ~/.bashrc: eval "$(kubiya completion bash)"

    zsh, in ~/.zshrc after compinit: eval "$(kubiya completion zsh)"

    fish: kubiya completion fish > ~/.config/fish/completions/kubiya.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(click.Group(), {}, "kubiya", VARIABLE).source())


def queues(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete queues that have a worker on this host."""
    from kubiya_worker.launch import home as homes

    try:
        known = {home.queue for home in homes.homes()}
    except (WorkerError, OSError):
        return []
    return [CompletionItem(name) for name in sorted(known) if name.startswith(incomplete)]


def options(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete names of settings."""
    from kubiya_worker.settings.table import OPTIONS

    return [CompletionItem(o.name, help=o.help) for o in OPTIONS if o.name.startswith(incomplete)]


def files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell itself complete files."""
    return [CompletionItem(incomplete, type="file")]


def words(*known: str) -> Complete:
    """Complete one of a few words, in upper or lower case."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in known if word.lower().startswith(incomplete.lower())]

    return complete


levels: Final = words("DEBUG", "INFO", "WARNING", "ERROR")
