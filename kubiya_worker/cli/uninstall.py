"""`kubiya uninstall`: list what lies where on this host, and remove it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from kubiya_worker.cli import completion
from kubiya_worker.cli.terminal import one_line
from kubiya_worker.errors import EX_NOPERM, EX_OK, EX_TEMPFAIL, TemporaryFailure, WorkerError
from kubiya_worker.launch import (
    belongings,
    containers,
    control,
    dev_worker,
    installation,
    report,
    stack_folder,
    systemd,
    systemd_unit,
)
from kubiya_worker.launch import home as homes
from kubiya_worker.launch.belongings import COMPLETION, DATA, FOREIGN, KINDS, SERVICE, Belonging

START_FILES = (".bashrc", ".bash_profile", ".profile", ".zshrc", ".config/fish/config.fish")
UNITS = ("B", "KiB", "MiB", "GiB")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--yes", is_flag=True, help="Stop this user's workers and remove what is listed, but no data.")
@click.option("--data", is_flag=True, help="With --yes: also data, such as workspaces, databases, keys and events.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as one JSON object, and remove nothing.")
def uninstall(yes: bool, data: bool, as_json: bool) -> int:
    """List what lies where on this host. With --yes: stop the workers and remove it, but data only with --data.

    The program itself is removed with the tool that installed it; the command is printed at the end.

    Example: kubiya uninstall --yes
    """
    home = Path("~/.kubiya").expanduser()
    everything = list(_belongings(home))
    if as_json:
        facts: dict[str, Any] = {"belongings": [one.as_json() for one in everything], "workers": list(_running())}
        print(json.dumps({**facts, "program": installation.removal()}, ensure_ascii=False))
        return EX_OK
    code = EX_OK
    if yes:
        _stop_workers()
        code = _remove_services(everything)
        everything = list(_belongings(home))  # what stopped has changed it
    for one in sorted(everything, key=lambda one: (KINDS.index(one.kind), one.path)):
        goes = one.kind not in (FOREIGN, SERVICE) and (one.kind != DATA or data)
        if yes and goes:
            try:
                belongings.remove(one)
            except OSError as error:
                print(f"kubiya uninstall: {one.path}: {error.strerror}", file=sys.stderr)
                code = EX_TEMPFAIL
        print(_row(one, "removed" if yes and goes else "kept" if yes else "goes" if goes else "stays"))
    if yes:
        for folder in (stack_folder.default_folder(os.environ), home, *belongings.states_of_services(os.environ)):
            belongings.remove_empty(folder)
    else:
        for line in _running():
            print(f"it would be stopped: {line}")
        print("Nothing was changed. To remove what goes: kubiya uninstall --yes (with data: --yes --data)")
    for line in _lines_in_start_files():
        print(f"a line of yours, to take out by hand: {line}")
    print(f"The program itself: {installation.removal()}")
    return code


def _belongings(home: Path) -> Iterator[Belonging]:
    for system in (False, True):
        for path in belongings.units(system=system):
            yield Belonging(SERVICE, path, belongings.size_of(path), "" if _may(system) else "needs sudo")
    stack = stack_folder.default_folder(os.environ)
    yield from belongings.below_home(home, stack)
    yield from belongings.of_stack(stack)
    for folder in belongings.states_of_services(os.environ):
        yield from (belongings.belonging(DATA, path, "of a service") for path in sorted(folder.iterdir()))
    for path in completion.user_files(os.environ).values():
        if completion.is_ours(path):
            yield belongings.belonging(COMPLETION, path)


def _may(system: bool) -> bool:
    return not system or os.geteuid() == 0


def _running() -> Iterator[str]:
    for home in homes.homes():
        if report.examine(home).alive:
            yield f"the worker of {home.label}"
    yield from (f"the container {box.name}" for box in containers.find() if box.alive)


def _stop_workers() -> None:
    """Stop the workers, which have their grace period. Raises TemporaryFailure while a local stack runs."""
    stack = dev_worker.find(os.environ)
    if stack is not None:
        raise TemporaryFailure(
            f"A local stack runs (pid {stack.pid}); nothing was removed",
            remedy=f"End it: kill {stack.pid}, and try again",
        )
    for home in homes.homes():
        if report.examine(home).alive:
            result = control.stop(home, lambda text: print(f"kubiya uninstall: {text}", file=sys.stderr))
            print(f"stopped: the worker of {home.label} (pid {result.pid})")
    for box in containers.find():
        containers.stop(box)
        print(f"stopped and removed: the container {box.name}")


def _remove_services(everything: list[Belonging]) -> int:
    code = EX_OK
    for item in everything:
        if item.kind != SERVICE:
            continue
        system = item.path.parent == systemd_unit.unit_file("x", system=True).parent
        queue, _, instance = item.path.stem.removeprefix("kubiya-worker-").partition("@")
        try:
            if not _may(system):
                raise TemporaryFailure(f"{item.path} was not touched", remedy="sudo kubiya uninstall --yes")
            systemd.uninstall(queue, int(instance or 1), system=system, say=print)
        except WorkerError as error:
            print(f"kubiya uninstall: {error.line()}", file=sys.stderr)
            code = EX_NOPERM if not _may(system) else error.exit_code
    return code


def _lines_in_start_files() -> Iterator[str]:
    for name in START_FILES:
        path = Path.home() / name
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        for number, line in enumerate(lines, 1):
            if "kubiya completion" in line or ".kubiya/dev/env" in line:
                yield f"{path}:{number}: {one_line(line, 120)}"


def _row(one: Belonging, word: str) -> str:
    note = f"  ({one.note})" if one.note else ""
    return f"{word:8}{one.kind:14}{_size(one.size):>10}  {one.path}{note}"


def _size(count: float) -> str:
    for unit in UNITS:
        if count < 1024 or unit == UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError(unit)
