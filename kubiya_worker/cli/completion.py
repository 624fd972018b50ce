"""`kubiya completion`, and what options complete to: only what this host knows, without the network."""

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
    """Print what completes `kubiya` in a shell.

    bash, in ~/.bashrc: eval "$(kubiya completion bash)"

    zsh, in ~/.zshrc after compinit: eval "$(kubiya completion zsh)"

    fish: kubiya completion fish > ~/.config/fish/completions/kubiya.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(click.Group(), {}, "kubiya", VARIABLE).source())


def queues(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Queues that have a worker on this host."""
    from kubiya_worker.launch import home as homes

    try:
        known = {home.queue for home in homes.homes()}
    except (WorkerError, OSError):
        return []
    return [CompletionItem(name) for name in sorted(known) if name.startswith(incomplete)]


def options(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of settings."""
    from kubiya_worker.settings.table import OPTIONS

    return [CompletionItem(o.name, help=o.help) for o in OPTIONS if o.name.startswith(incomplete)]


def files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files, which the shell itself completes."""
    return [CompletionItem(incomplete, type="file")]


def words(*known: str) -> Complete:
    """One of a few words, in whatever case they are begun."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in known if word.lower().startswith(incomplete.lower())]

    return complete


levels: Final = words("DEBUG", "INFO", "WARNING", "ERROR")
