"""A recorded run that a worker plays: what the model answered and what the tools returned.

`kubiya test` writes such a file and starts a worker with its name in KUBIYA_RECORDING; the worker reads it again when
another one was put in its place. Texts are redacted already, as they come from the events of the run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError

ENDED: Final = "The recording has no further answer."


@dataclass(frozen=True)
class RecordedResult:
    """A result of a tool; `error` is None for success."""

    output: str
    error: str | None = None


class Recording:
    """The recording of one run. It remembers which answers and results were given out already.

    {"runs": [{"agent", "task", "steps": [step of models/demo_script.py]}] | null: the model is a real one,
     "tools": [{"agent", "tool", "arguments", "output", "error"?}] | null: the tools are real ones}
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        runs, tools = raw.get("runs"), raw.get("tools")
        self.plays_model, self.plays_tools = runs is not None, tools is not None
        self._runs: list[dict[str, Any]] = list(runs or ())
        self._results: dict[str, list[RecordedResult]] = {}
        self._names: dict[str, list[str]] = {}
        for each in tools or ():
            agent, tool = str(each["agent"]), str(each["tool"])
            result = RecordedResult(str(each.get("output") or ""), each.get("error") or None)
            self._results.setdefault(_key(agent, tool, each.get("arguments")), []).append(result)
            names = self._names.setdefault(agent, [])
            if tool not in names:
                names.append(tool)
        self._given: dict[str, dict[str, Any]] = {}  # the recorded run of each execution that plays

    def tools_of(self, agent: str) -> list[str]:
        """Return the names of the tools that an agent has called."""
        return list(self._names.get(agent, ()))

    def result(self, agent: str, tool: str, arguments: Mapping[str, Any]) -> RecordedResult | None:
        """Return what the call returned; None for one that was not made. The last result of a call comes again."""
        left = self._results.get(_key(agent, tool, arguments))
        if not left:
            return None
        return left.pop(0) if len(left) > 1 else left[0]

    def step(self, agent: str, execution_id: str, task: str, number: int) -> dict[str, Any]:
        """Return the model's answer number `number` (from 0) in an execution of an agent that began with `task`."""
        run = self._given.get(execution_id)
        if run is None:
            played = [id(each) for each in self._given.values()]
            own = [each for each in self._runs if each["agent"] == agent and id(each) not in played]
            fitting = [each for each in own if each.get("task") == task]
            run = (fitting or own or [{"steps": []}])[0]
            self._given[execution_id] = run
        steps = run["steps"]
        return dict(steps[number]) if number < len(steps) else {"text": ENDED}


def _key(agent: str, tool: str, arguments: Any) -> str:
    return json.dumps([agent, tool, arguments or {}], sort_keys=True, ensure_ascii=False)


class RecordingFile:
    """The file with the recording that is played now."""

    def __init__(self, path: str) -> None:
        self._path = Path(path).expanduser()
        self._seen: tuple[int, int] | None = None
        self._recording = Recording({})

    def now(self) -> Recording:
        """Return the recording. Raises ConfigurationError for a file that is none."""
        try:
            about = self._path.stat()
            seen = (about.st_ino, about.st_mtime_ns)
            if seen != self._seen:
                self._recording = Recording(json.loads(self._path.read_text(encoding="utf-8")))
                self._seen = seen
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"The recording {self._path} cannot be read: {error}", remedy="kubiya test writes it; see docs/runs.md"
            ) from error
        return self._recording
