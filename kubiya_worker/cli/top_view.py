"""The lines that `kubiya worker top` shows. Pure: the same input gives the same lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from kubiya_worker.cli.terminal import Paint, columns_of, one_line, truncate
from kubiya_worker.cli.worker_status import death_line, size
from kubiya_worker.launch import report
from kubiya_worker.launch.containers import FoundContainer
from kubiya_worker.launch.dev_worker import DevWorker
from kubiya_worker.launch.live import Look, total

HELP: Final = "q quits"


@dataclass(frozen=True)
class Column:
    """A column of the table. On a narrow terminal the columns with the highest `rank` are left out first."""

    title: str
    rank: int
    value: Callable[[Look, float], str]
    right: bool = True


def uptime(look: Look, now: float) -> str:
    child = look.report.state.get("child") if look.report.alive else None
    started = _seconds((child or {}).get("started_at"))
    return short(now - started) if started is not None else ""


def restarts(look: Look, _: float) -> str:
    counts = look.report.state.get("restarts") or {}
    return str(sum(n for n in counts.values() if isinstance(n, int))) if look.report.state else ""


def slots(look: Look, _: float) -> str:
    status = look.report.live_status
    if not status:
        return ""
    return (
        f"{status.get('active_tasks', 0)}/{status['slots']}"
        if status.get("slots")
        else str(status.get("active_tasks", 0))
    )


def tokens(look: Look, _: float) -> str:
    used = total(look.samples, "kubiya_worker_model_tokens_total")
    return count(used or 0) if look.samples else ""


def cost(look: Look, _: float) -> str:
    """Return the cost of the model calls whose price is known."""
    spent = total(look.samples, "kubiya_worker_model_cost_usd_total")
    return f"${spent:.2f}" if spent else ""


def event_lag(look: Look, _: float) -> str:
    """Return the age of events when they are sent; `+N` counts events that were refused and are kept by workflows."""
    lag = total(look.samples, "kubiya_worker_event_lag_seconds")
    held_events = total(look.samples, "kubiya_worker_events_held_total") or 0
    return "" if lag is None else f"{moment(lag)}{f' +{count(held_events)}' if held_events else ''}"


def polls(look: Look, _: float) -> str:
    status = look.report.live_status
    if not status:
        return ""
    if status.get("polling", False) is None:
        return "?"  # the worker has not told its state for too long
    if not status.get("polling"):
        return "blocked" if status.get("blocked") else "no"
    pollers = total(look.samples, "temporal_num_pollers")
    return f"{pollers:.0f}" if pollers else "yes"


def _status(name: str) -> Callable[[Look, float], str]:
    return lambda look, _: str(look.report.live_status.get(name, ""))


@dataclass(frozen=True)
class ContainerLook:
    """One look at a worker in a container; `cpu` and `memory` are the same as in `Look`."""

    container: FoundContainer
    cpu: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class StackLook:
    """One look at the worker of `kubiya dev`, of which only its process tells."""

    stack: DevWorker


AnyLook = Look | ContainerLook | StackLook


def _stack_cells(look: StackLook, now: float) -> dict[str, str]:
    """Return the cells of the worker of a stack, by column."""
    return {
        "QUEUE": f"{look.stack.queue} (dev)",
        "STATE": report.RUNNING,
        "UP": short(now - look.stack.started_at),
    }


def _container_cells(look: ContainerLook, now: float) -> dict[str, str]:
    """Return the cells of a container by column, from the engine and the worker's status file."""
    container, own = look.container, look.container.worker_status
    started = _seconds(container.started_at) if container.status == "running" else None
    cells = {
        "QUEUE": f"{container.queue} (docker)",
        "STATE": container.word,
        "UP": "" if started is None else short(now - started),
        "RESTARTS": str(container.restarts),
        "CPU %": "" if look.cpu is None else f"{look.cpu:.1f}",
        "MEMORY": "" if look.memory is None else size(look.memory),
        "POLLS": "" if container.polling is None else "yes" if container.polling else "no",
    }
    if own:
        slots = f"/{own['slots']}" if own.get("slots") else ""
        cells["SLOTS"] = f"{own.get('active_tasks', 0)}{slots}"
        cells |= {"DONE": str(own.get("completed_tasks", "")), "FAILED": str(own.get("failed_tasks", ""))}
    return cells


COLUMNS: Final = (
    Column("QUEUE", 0, lambda look, _: look.report.home.label, right=False),
    Column("STATE", 0, lambda look, _: look.report.word.split()[0], right=False),
    Column("UP", 2, uptime),
    Column("RESTARTS", 5, restarts),
    Column("CPU %", 3, lambda look, _: "" if look.cpu is None else f"{look.cpu:.1f}"),
    Column("MEMORY", 3, lambda look, _: "" if look.memory is None else size(look.memory)),
    Column("SLOTS", 0, slots),
    Column("DONE", 2, _status("completed_tasks")),
    Column("FAILED", 1, _status("failed_tasks")),
    Column("TOKENS", 4, tokens),
    Column("COST", 5, cost),
    Column("EVENT LAG", 6, event_lag),
    Column("LOOP LAG", 7, lambda look, _: moment(total(look.samples, "kubiya_worker_event_loop_lag_seconds"))),
    Column("POLLS", 1, polls),
)


@dataclass(frozen=True)
class ApprovalCount:
    """The number of waiting approvals; None if it is not known, and then `why` has the reason."""

    waiting: int | None = None
    why: str = ""

    def __str__(self) -> str:
        if self.waiting is None:
            return f"approvals waiting: ? ({one_line(self.why, 60)})" if self.why else "approvals waiting: …"
        return f"approvals waiting: {self.waiting}"


def frame(
    looks: Sequence[AnyLook], approvals: ApprovalCount, host: str, now: float, paint: Paint, width: int, height: int
) -> list[str]:
    """Return the picture: at most `height` lines of at most `width` columns."""
    clock = datetime.fromtimestamp(now).strftime("%H:%M:%S")
    head = f"{paint.bold(truncate(host, 40))}  {clock}  {_summary(looks)}  {approvals}"
    lines = [_fit(head, width), ""]
    table = rows(looks, now, paint, width)
    space = height - len(lines) - 1
    lines += table[: max(space, 1)]
    left = space - len(table)
    if left < 0:
        lines[-1] = _fit(f"… {1 - left} more", width)
    notes = [_fit(note, width) for look in looks for note in details(look, paint)]
    if notes and left > 1:
        lines += ["", *notes[: left - 1]]
    return [*lines[: height - 1], _fit(paint.dim(HELP), width)][:height]


def plain_lines(looks: Sequence[AnyLook], approvals: ApprovalCount, now: float, paint: Paint) -> list[str]:
    """Return the lines for a pipe: all columns in full width."""
    return [f"{_summary(looks)}  {approvals}", *rows(looks, now, paint, None)]


def rows(looks: Sequence[AnyLook], now: float, paint: Paint, width: int | None) -> list[str]:
    """Return the table. With a width, columns that do not fit are left out."""
    if not looks:
        return ["There are no workers here. Start one: kubiya worker start --queue-id Q -d"]
    values = [_values(look, now) for look in looks]
    cells = {column.title: [one_line(each.get(column.title, ""), 40) or "-" for each in values] for column in COLUMNS}
    wide = {title: max(len(title), *map(_columns, column)) for title, column in cells.items()}
    shown = list(COLUMNS)
    while width is not None and len(shown) > 2 and sum(wide[c.title] + 2 for c in shown) - 2 > width:
        shown.remove(max(shown, key=lambda column: column.rank))
    lines = [_fit(paint.dim(_row(shown, [c.title for c in shown], wide)), width)]
    for number, look in enumerate(looks):
        line = _row(shown, [cells[c.title][number] for c in shown], wide)
        lines.append(_fit(_coloured(line, look, paint), width))
    return lines


def _values(look: AnyLook, now: float) -> dict[str, str]:
    if isinstance(look, ContainerLook):
        return _container_cells(look, now)
    if isinstance(look, StackLook):
        return _stack_cells(look, now)
    return {column.title: column.value(look, now) for column in COLUMNS}


def details(look: AnyLook, paint: Paint) -> list[str]:
    """Return more facts about a worker that do not fit into its row."""
    if isinstance(look, ContainerLook):
        return _container_details(look.container, paint)
    if isinstance(look, StackLook):
        return [f"{paint.bold(look.stack.queue)}  of kubiya dev, process {look.stack.pid}"]
    worker_report, status = look.report, look.report.live_status
    notes: list[str] = []
    if status.get("current_task"):
        notes.append(f"at {status['current_task']}")
    if worker_report.word != report.RUNNING and worker_report.why:
        notes.append(worker_report.why)
    if look.silent:
        notes.append(f"its metrics do not answer: {look.silent}")
    deaths = worker_report.state.get("deaths") or []
    if deaths:
        notes.append(f"last death: {death_line(deaths[-1])}")
    return [f"{paint.bold(worker_report.home.label)}  {one_line(text, 300)}" for text in notes]


def _container_details(container: FoundContainer, paint: Paint) -> list[str]:
    notes = [f"container {container.name} of {container.image}"]
    if container.worker_status.get("current_task"):
        notes.append(f"at {container.worker_status['current_task']}")
    if not container.alive:
        memory = ", out of memory" if container.out_of_memory else ""
        notes.append(f"ended with exit code {container.exit_code}{memory}")
    return [f"{paint.bold(container.queue)}  {one_line(text, 300)}" for text in notes]


def count(value: float) -> str:
    """Format a number: 1234567 becomes 1.2M. Pure."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            return f"{value / (1000 if unit == 'k' else limit):.{0 if unit == 'k' else 1}f}{unit}"
    return f"{value:.0f}"


def short(seconds: float) -> str:
    """Format a duration in two units: 3d04h, 2h05m, 4m07s, 12s."""
    seconds = max(0, int(seconds))
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"


def moment(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s" if seconds < 60 else short(seconds)


def _summary(looks: Sequence[AnyLook]) -> str:
    running = sum(_word(look) == report.RUNNING for look in looks)
    active = sum(int(_status_of(look).get("active_tasks") or 0) for look in looks)
    return f"{running} of {len(looks)} workers running, {active} step{'s' if active != 1 else ''} active"


def _word(look: AnyLook) -> str:
    if isinstance(look, StackLook):
        return report.RUNNING
    return look.container.word if isinstance(look, ContainerLook) else look.report.word


def _status_of(look: AnyLook) -> dict[str, Any]:
    if isinstance(look, StackLook):
        return {}
    return look.container.worker_status if isinstance(look, ContainerLook) else look.report.live_status


def _row(shown: Sequence[Column], texts: Sequence[str], wide: dict[str, int]) -> str:
    cells: list[str] = []
    for column, text in zip(shown, texts, strict=True):
        padding = " " * (wide[column.title] - _columns(text))
        cells.append(padding + text if column.right else text + padding)
    return "  ".join(cells).rstrip()


def _coloured(line: str, look: AnyLook, paint: Paint) -> str:
    if isinstance(look, ContainerLook):
        label, alive = look.container.queue, look.container.alive
    elif isinstance(look, StackLook):
        label, alive = look.stack.queue, True
    else:
        label, alive = look.report.home.label, look.report.alive
    word = _word(look).split()[0]
    if _word(look) == report.RUNNING and _status_of(look).get("polling", True):
        return line.replace(word, paint.green(word), 1) if word not in label else line
    return paint.yellow(line) if alive else paint.dim(line)


def _columns(text: str) -> int:
    return sum(map(columns_of, text))


def _fit(text: str, width: int | None) -> str:
    """Cut a text to the width; a text that is cut loses its colours."""
    if width is None:
        return text
    bare = one_line_kept(text)
    return text if _columns(bare) <= width else truncate(bare, width)


def one_line_kept(text: str) -> str:
    """Return the text without colours; its spaces are kept."""
    out, skip = [], False
    for character in text:
        if character == "\x1b":
            skip = True
        elif skip:
            skip = character != "m"
        else:
            out.append(character)
    return "".join(out)


def _seconds(stamp: Any) -> float | None:
    try:
        return datetime.fromisoformat(str(stamp)).timestamp()
    except ValueError:
        return None
