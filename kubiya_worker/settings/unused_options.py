"""Options of the published Kubiya CLI and worker that this worker does not use (docs/protocol.md#f1, #f2).

None of them is ignored silently. A flag is refused. A variable is refused when the worker would behave differently from
the request, else it is reported in one line. `kubiya doctor` and the reference list all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError, UsageError
from kubiya_worker.settings.value_types import ValueType, boolean, text

_AUTO_UPDATE: Final = "Install the new version, then kubiya worker restart; docs/upgrades.md has the whole way"
_PAGE: Final = "Watch with kubiya worker top, or on the control plane's page; --metrics-port has the figures"
_EVENTS: Final = "Unset it: events are sent as they come, in order, and wait on disk while the control plane is away"
_NO_GRAPH: Final = "This worker has no context graph, and extends no prompts from one"
_KNOWLEDGE: Final = "Unset it; what an agent is to know goes into its prompt or comes from an MCP server"
_TIMEOUTS: Final = "Set KUBIYA_ACTIVITY_TIMEOUT: a lost worker is noticed after 12 s, and each step has its own limit"


@dataclass(frozen=True)
class UnusedOption:
    """An option of others. `says` is the reason why it is not used here, `remedy` what to do instead.

    `refused`: it is refused as a variable, too. A name in `env` that ends with `*` means all variables that begin with
    it.
    """

    name: str
    says: str
    remedy: str
    flag: str | None = None
    env: tuple[str, ...] = ()
    parse: ValueType = text
    refused: bool = False

    @property
    def why(self) -> str:
        """Return `says` for use inside a sentence."""
        return f"{self.says[:1].lower()}{self.says[1:]}"

    def has(self, variable: str) -> bool:
        return variable in self.env or any(
            name.endswith("*") and variable.startswith(name.removesuffix("*")) for name in self.env
        )

    def asks(self, value: Any) -> bool:
        """Return whether this value asks for the option: `false` does not."""
        if self.parse is not boolean:
            return bool(str(value).strip())
        try:
            return bool(boolean(value))
        except ValueError:
            return True


UNUSED_OPTIONS: Final = (
    UnusedOption(
        "auto_update",
        "A worker does not update itself",
        _AUTO_UPDATE,
        "--auto-update",
        ("KUBIYA_WORKER_AUTOUPDATE_ENABLED",),
        boolean,
        refused=True,
    ),
    UnusedOption(
        "update_check_interval",
        "A worker does not look for updates",
        _AUTO_UPDATE,
        "--update-check-interval",
        ("KUBIYA_WORKER_UPDATE_CHECK_INTERVAL",),
    ),
    UnusedOption(
        "webui_port",
        "A worker has no web page of its own",
        _PAGE,
        "--webui-port",
    ),
    UnusedOption(
        "event_transport",
        "Events are sent by HTTP, in batches that need no tuning",
        _EVENTS,
        env=(
            "EVENT_BATCHING_ENABLED",
            "EVENT_BATCH_TIME_WINDOW_MS",
            "EVENT_BATCH_SIZE_WINDOW_BYTES",
            "EVENT_BATCH_MAX_SIZE_BYTES",
            "EVENT_TRANSPORT_MODE",
            "EVENT_MAX_CONCURRENT_REQUESTS",
            "EVENT_REQUEST_TIMEOUT_SECONDS",
            "EVENT_WEBSOCKET_ENABLED",
            "EVENT_WS_RENEW_INTERVAL_SECONDS",
            "EVENT_WS_THRESHOLD_SECONDS",
            "CHUNK_BATCHING_*",
        ),
    ),
    UnusedOption(
        "turn_timeouts",
        "An execution is not one activity, so these limits do not apply",
        _TIMEOUTS,
        env=(
            "ACTIVITY_EXECUTION_TIMEOUT_SECONDS",
            "ACTIVITY_HEARTBEAT_TIMEOUT_SECONDS",
            "TEAM_ACTIVITY_EXECUTION_TIMEOUT_SECONDS",
            "TEAM_ACTIVITY_HEARTBEAT_TIMEOUT_SECONDS",
        ),
    ),
    UnusedOption(
        "context_graph",
        _NO_GRAPH,
        _KNOWLEDGE,
        env=("CONTEXT_GRAPH_API_BASE",),
    ),
    UnusedOption(
        "skill_context",
        _NO_GRAPH,
        _KNOWLEDGE,
        env=("ENABLE_SKILL_CONTEXT_ENHANCEMENT",),
        parse=boolean,
    ),
    UnusedOption(
        "claude_code",
        "Every agent runs in the worker's own loop, one whose runtime is claude_code too",
        'Unset it; policies say which tool calls run, and "thinking" in an agent\'s llm_config how much it thinks',
        env=(
            "CLAUDE_CODE_PERMISSION_MODE",
            "CLAUDE_CODE_MAX_THINKING_TOKENS",
            "CLAUDE_CODE_MAX_POOL_SIZE",
            "CLAUDE_CODE_CLIENT_TTL",
            "CLAUDE_CODE_CLEANUP_INTERVAL",
        ),  # not all of CLAUDE_CODE_*: some of them mark a shell in which another program runs
    ),
    UnusedOption(
        "agent_runtime",
        "Every agent runs in the worker's own loop; there is no other program beside it",
        "Unset it",
        env=("USE_AGENT_RUNTIME",),
        parse=boolean,
    ),
    UnusedOption(
        "agent_runtime_server",
        "Every agent runs in the worker's own loop; there is no other program beside it",
        "Unset it",
        env=("AGENT_RUNTIME_*",),
    ),
    UnusedOption(
        "daemon_child",
        "It marks another program's own child; the supervisor here is a program of its own",
        "Unset it; kubiya worker start -d runs in the background",
        env=("KUBIYA_DAEMON_CHILD",),
        parse=boolean,
    ),
)


@dataclass(frozen=True)
class UnusedSetting:
    """A variable that has no effect here, and its entry."""

    variable: str
    entry: UnusedOption

    @property
    def line(self) -> str:
        return f"{self.variable} does nothing here. {self.entry.says}. {self.entry.remedy}"


def found_in(environ: Mapping[str, str]) -> Iterator[UnusedSetting]:
    """Return the variables of this environment that have no effect and are not refused."""
    return (found for found in _set(environ) if not found.entry.refused)


def refuse(flags: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """Raise UsageError for a flag, ConfigurationError for a variable, that this worker refuses."""
    for entry in UNUSED_OPTIONS:
        value = flags.get(entry.name)
        if value is not None and entry.asks(value):
            raise UsageError(f"{entry.flag} is not for this worker: {entry.why}", remedy=entry.remedy)
    for unused in _set(environ):
        if unused.entry.refused:
            entry = unused.entry
            raise ConfigurationError(f"{unused.variable} is not for this worker: {entry.why}", remedy=entry.remedy)


def _set(environ: Mapping[str, str]) -> Iterator[UnusedSetting]:
    for entry in UNUSED_OPTIONS:
        yield from (
            UnusedSetting(name, entry)
            for name in sorted(environ)
            if entry.has(name) and entry.asks(environ[name].strip())
        )
