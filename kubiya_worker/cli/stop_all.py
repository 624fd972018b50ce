"""`kubiya stop-all`: stop every agent of the organization at once, and let them go on again."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from kubiya_worker.cli import reason
from kubiya_worker.cli.api.stop import StopApi
from kubiya_worker.cli.connection import connect
from kubiya_worker.cli.moments import clock
from kubiya_worker.cli.terminal import one_line
from kubiya_worker.errors import UsageError


@click.command("stop-all", context_settings={"help_option_names": ["-h", "--help"]})
@reason.option("Why. Everybody who is refused meanwhile reads it; with --lift, the audit record has it.", value="why")
@click.option("--lift", is_flag=True, help="Let the agents go on where they were.")
@click.option("--status", is_flag=True, help="Only say whether the agents are stopped.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def stop_all(why: str, lift: bool, status: bool, as_json: bool) -> None:
    """Stop every agent on every queue: no new model or tool call until it is lifted.

    Steps under way end; what runs or waits is paused, and nothing new starts.

    Example: kubiya stop-all --reason "a key has leaked"
    """
    if sum((bool(why.strip()) and not lift, lift, status)) != 1:
        raise UsageError(
            "stop-all needs one of --reason TEXT, --lift, --status",
            remedy="--reason stops all, --lift ends that, --status shows it",
        )
    stop = StopApi(connect())
    state = stop.state() if status else stop.lift() if lift else stop.stop(why.strip())
    if as_json:
        print(json.dumps(state, ensure_ascii=False))
        return
    print(_line(state, lifted=lift))
    if state.get("stopped"):
        print("Let them go on with: kubiya stop-all --lift", file=sys.stderr)


def _line(state: dict[str, Any], *, lifted: bool) -> str:
    if not state.get("stopped"):
        return f"Lifted. Executions that go on: {state.get('resumed', 0)}" if lifted else "The agents are not stopped."
    by = state.get("by") or {}
    who = one_line(str(by.get("name") or by.get("email") or "somebody"), 60)
    why = one_line(str(state.get("reason")), 500)
    at, paused = clock(state.get("at")), state.get("paused", 0)
    return f"All agents are stopped by {who} since {at}: {why}. Paused executions: {paused}"
