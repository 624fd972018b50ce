"""`kubiya doctor`: show what is wrong on this host and how to fix it. Exit code 0 when nothing failed, else 1."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from kubiya_worker.cli.options import config_file, resolved, settings
from kubiya_worker.cli.terminal import Paint, one_line
from kubiya_worker.doctor.check import FAIL, PASS, SKIP, WARN, Report, Result, examine
from kubiya_worker.errors import WorkerError
from kubiya_worker.launch import dev_worker
from kubiya_worker.settings import Settings


@click.command()
@settings("queue_id")
@config_file
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(queue_id: str | None, config: str | None, as_json: bool) -> int:
    """Examine this host, the network, the control plane, Temporal and the model endpoint.

    Example: kubiya doctor
    """
    from kubiya_worker.doctor.all_checks import checks  # loads models, payloads and the client: no help text needs them

    configured: Settings | None = None
    problem: WorkerError | None = None
    stack = dev_worker.find(os.environ)  # its queue is examined where no other one is named
    for queue in (queue_id, stack.queue) if stack and not queue_id else (queue_id,):
        try:
            configured, problem = resolved({"queue_id": queue}, config), None
            break
        except WorkerError as error:
            problem = error
    home = Path("~/.kubiya").expanduser()
    todo, probe = checks(configured, problem, home, os.environ)
    report = Report()
    try:
        for result in examine(todo, report):
            if not as_json:
                _print_result(result, Paint.for_stream(sys.stdout))
    finally:
        if probe is not None:
            probe.close()
    if as_json:
        print(json.dumps(report.wire(), ensure_ascii=False))
    else:
        warnings = report.count(WARN)
        counts = [f"{report.count(PASS)} passed", f"{report.count(FAIL)} failed"]
        counts.append(f"{warnings} warning{'' if warnings == 1 else 's'}")
        print(f"{report.overall}: {', '.join(counts)}, {report.count(SKIP)} skipped")
    return 1 if report.count(FAIL) else 0


def _print_result(result: Result, paint: Paint) -> None:
    marks = {
        PASS: paint.green(paint.symbol("✓", "ok")),
        FAIL: paint.red(paint.symbol("✗", "FAIL")),
        WARN: paint.yellow("!"),
        SKIP: paint.dim("-"),
    }
    milliseconds = paint.dim(f"{result.seconds * 1000:.0f} ms")
    message = one_line(result.finding.message, 160)
    print(f"{marks[result.finding.status]} {result.check.name:13} {message}  {milliseconds}", flush=True)
    if result.finding.remedy:
        word = "mend:" if result.finding.status in (FAIL, WARN) else "try:"
        print(f"{'':16}{paint.bold(word)} {one_line(result.finding.remedy, 160)}", flush=True)
