"""The evidence of a run, as values. Times are seconds of the machine's monotonic clock, unless said otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Hit:
    """A fault that cut a worker's work off, or could have. `until` is when it was over."""

    fault: int
    kind: str  # "killed": the process ends; "stopped": it stood still; "temporal": nobody could be told
    pid: int  # of the worker that it hit; 0: all
    at: float
    until: float


@dataclass
class Request:
    """One that the model endpoint got. `done` is when its answer had been sent whole; 0: never."""

    token: str
    step: int
    pid: int | None  # the worker that sent it, by the other end of the connection; None: it was gone already
    at: float
    done: float = 0.0


@dataclass
class Run:
    """One run of a tool, written down by the tool itself."""

    token: str
    call: str
    tool: str
    pid: int  # of the worker
    at: float  # 0: not known (a shell has no such clock)


@dataclass
class Event:
    """An event of an execution's stream."""

    id: str
    type: str
    message_id: str = ""
    call: str = ""  # tool_execution_id
    outcome: str = ""
    at: float = 0.0  # when it arrived; 0 where nobody waited for it


@dataclass
class Execution:
    """One of the load. `live` is what a client saw who was there all the time, `log` what is told afterwards."""

    token: str
    variant: str
    id: str
    status: str
    response: str
    expected: str
    live: list[Event] = field(default_factory=list)
    log: list[Event] = field(default_factory=list)
    approved: dict[str, float] = field(default_factory=dict)  # call -> when a person first said yes
    began: float = 0.0
    ended: float = 0.0
    told: list[list[str]] = field(default_factory=list)  # the ids that each of several servers tells afterwards


@dataclass
class Birth:
    pid: int  # of a worker
    at: float


@dataclass
class Log:
    """The numbered lines of the workers, and what the log says of its own losses."""

    torn: list[str] = field(default_factory=list)
    looked: int = 0  # lines
    numbers: dict[int, list[int]] = field(default_factory=dict)  # pid -> in the order of the file
    written: dict[int, int] = field(default_factory=dict)  # pid -> how many it had written
    told: int = 0  # lines that the log says were lost


@dataclass
class Evidence:
    executions: list[Execution] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    births: list[Birth] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    killed_calls: set[str] = field(default_factory=set)  # whose tool's process was killed, `token/call`
    unread: set[int] = field(default_factory=set)  # workers whose last lines nobody was there to read
    log: Log = field(default_factory=Log)
    files: tuple[int, list[str]] = (0, [])  # looks at the state files, and what was wrong
    left: tuple[int, list[str]] = (0, [])  # looks for what was left behind, and what was found
    clock: tuple[int, list[str]] = (0, [])  # steps of the clock, and those that the log's times do not show
