"""`kubiya worker logs`: read a worker's log across its rotations, filter it, follow it."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from kubiya_worker.cli.completion import levels
from kubiya_worker.cli.grouped_options import grouped
from kubiya_worker.cli.terminal import clean
from kubiya_worker.cli.worker_container import container_of
from kubiya_worker.cli.worker_target import home_of, worker_options
from kubiya_worker.errors import UsageError
from kubiya_worker.launch import containers, dev_worker, logfiles, logline, report
from kubiya_worker.launch.logline import Filter

LOOK_EVERY: Final = 0.2  # seconds between looks at the file while following
DEFAULT_LINES: Final = 200  # lines that are shown without --since or -n


@dataclass(frozen=True)
class LineOptions:
    """The options that say which lines of the log are wanted, as they are typed."""

    count: int | None
    since: str | None
    level: str | None
    execution: str | None

    @property
    def last(self) -> int | None:
        """Return how many of the last lines are wanted; None for all of them."""
        return DEFAULT_LINES if self.count is None and self.since is None else self.count

    def filter(self) -> Filter:
        """Return what selects the lines. Raises UsageError for a time or a level that is none."""
        try:
            return Filter(
                since=logline.parse_since(self.since, time.time()) if self.since else None,
                level=logline.rank(self.level) if self.level else 0,
                text=self.execution or "",
            )
        except ValueError as error:
            raise UsageError(str(error), remedy="kubiya worker logs --help has examples") from error


line_options: Final = grouped(
    "lines",
    LineOptions,
    click.option("-n", "--lines", "count", type=click.IntRange(0), help="The last N lines.  [default: 200]"),
    click.option("--since", help="Lines since a time: 10m, 2h, 3d ago, or 2026-11-24T10:00."),
    click.option("--level", shell_complete=levels, help="This level and above: DEBUG, INFO, WARNING, ERROR."),
    click.option("--execution", help="Lines about the execution with this id."),
)


@click.command()
@worker_options
@click.option("-f", "--follow", is_flag=True, help="Follow the log, through rotations.")
@line_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each line.")
def logs(
    queue_id: str | None,
    instance: int,
    follow: bool,
    lines: LineOptions,
    as_json: bool,
) -> None:
    """Read a worker's log, also when the worker does not run.

    Example: kubiya worker logs --queue-id default --follow
    """
    stack = dev_worker.meant(queue_id) if instance == 1 else None
    selection = lines.filter()
    if stack is not None:
        _print_file(stack.log_file, selection, lines.last, follow, as_json)
        return
    home = home_of(queue_id, instance)
    box = container_of(home, report.examine(home))
    if box is not None:
        # While following, the engine counts the last lines before the filter selects from them.
        if follow:
            for line in selection.select(containers.lines(box, follow=True, last=lines.last)):
                _print([line], as_json)
            return
        chosen = selection.select(containers.lines(box))
        _print(chosen if lines.last is None else deque(chosen, lines.last), as_json)
        return
    if not report.log_sizes(home):
        raise UsageError(f"{home.label} has no log here", remedy="A worker in the foreground logs to its stdout")
    _print_file(home.log_file, selection, lines.last, follow, as_json)


def _print_file(file: Path, selection: Filter, last: int | None, follow: bool, as_json: bool) -> None:
    with closing(logfiles.LogFollower(file)) as follower:
        first: Iterable[str] = selection.select(follower.new_lines())
        if last is not None:
            first = deque(first, last)
        _print(first, as_json)
        while follow:
            time.sleep(LOOK_EVERY)
            _print(selection.select(follower.new_lines()), as_json)


def _print(lines: Iterable[str], as_json: bool) -> None:
    for line in _rendered(lines, as_json):
        print(line)
    sys.stdout.flush()


def _rendered(lines: Iterable[str], as_json: bool) -> Iterator[str]:
    for line in lines:
        if as_json:
            facts: dict[str, Any] = logline.parse(line)
            yield json.dumps(facts, ensure_ascii=False)
        else:
            yield clean(line)
