"""The demo: an agent finds what fills the disk of a folder made for it; with --team, a team triages an incident.

Started by scripts/demo. A local stack comes up on free ports with a state folder of its own, the sample agent works
with real tools on real files, one call stops at an approval, which is shown and granted, and the answer is checked
against what was put there. Then everything is stopped. The local stack is started behind a guard, so that it ends with
this program, whatever ends this program.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from kubiya_worker._supervisor.posix import kernel
from kubiya_worker.launch.guarded_program import GuardedProgram
from kubiya_worker.launch.stack_folder import read_env

READY_WITHIN = 60.0  # seconds
RUN_WITHIN = 60.0
STOP_WITHIN = 30.0
BIG = "var/log/app/debug.log"
FILES = {  # bytes; `du` has to see them, so they are written, not sparse
    BIG: 24_000_000,
    "var/log/app/debug.log.1": 3_000_000,
    "var/lib/db/data.bin": 5_000_000,
    "var/cache/packages/archive.tar": 2_000_000,
    "home/ada/notes.txt": 4_000,
    "etc/app.conf": 700,
}
ERROR_LOG = "var/log/app/error.log"
ERRORS = 37


class Failed(Exception):
    """The demo did not show what it is there to show."""


def say(text: str) -> None:
    print(f"\n== {text}", file=sys.stderr, flush=True)


def make_files(folder: Path) -> None:
    line = b"2026-01-01T00:00:00Z DEBUG app.request path=/health status=200 took=3ms\n"
    for name, size in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((line * (size // len(line) + 1))[:size])
    error = "2026-01-01T00:00:{:02d}Z ERROR app.db could not write: no space left on device\n"
    (folder / ERROR_LOG).write_text("".join(error.format(number) for number in range(ERRORS)))


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "kubiya_worker.cli.main", *arguments]


def dev(state: Path) -> list[str]:
    ports = ["--port", "0", "--temporal-port", "0", "--ui-port", "0"]
    return command("dev", "--ephemeral", "--json", "--model", "demo", "--state-dir", str(state), *ports)


def said(text: str) -> str:
    """Return what a command with --json has printed, with its error as a line for a person."""
    *lines, last = text.strip().splitlines() or [""]
    try:
        error = json.loads(last)["error"]
        lines.append(f"{error['message']}. {error.get('remedy', '')}".strip())
    except (ValueError, KeyError, TypeError):
        lines.append(last)
    return "\n".join(lines)


def wait_until_ready(log: Path, ended: Any) -> dict[str, Any]:
    """The stack's line of facts, which it prints when it is ready."""
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace") if log.exists() else ""
        for line in text.splitlines(keepends=True):
            if line.startswith('{"event": "ready"') and line.endswith("\n"):
                facts: dict[str, Any] = json.loads(line)
                return facts
        if ended() is not None:
            raise Failed(f"the local stack did not start: {said(text) or 'it said nothing'}")
        time.sleep(0.02)
    raise Failed(f"the local stack was not ready within {READY_WITHIN:g} s; see {log}")


@contextlib.contextmanager
def guarded_stack(home: Path) -> Iterator[dict[str, Any]]:
    """A stack that ends with this block, and with this process."""
    log = home / "dev.log"
    child = GuardedProgram("dev", dev(home / "state"), os.environ, log)
    try:
        yield wait_until_ready(log, child.code)
    finally:
        child.terminate()
        if not child.wait(STOP_WITHIN):
            child.kill()
            child.wait(5.0)
        child.close()


@contextlib.contextmanager
def kept_stack(home: Path) -> Iterator[dict[str, Any]]:
    """A stack that stays when all went well."""
    log = home / "dev.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            dev(home / "state"), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield wait_until_ready(log, process.poll)
    except BaseException:
        process.terminate()
        process.wait(STOP_WITHIN)
        raise
    process.returncode = 0  # it is on its own from here


def declare(folder: Path, environment: dict[str, str]) -> None:
    """Let the agent that reads logs read the folder too, as a person would: programs read only what is declared."""
    import requests

    base = environment["CONTROL_PLANE_URL"] + "/api/v1"
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {environment['KUBIYA_API_KEY']}"
        agent = session.get(f"{base}/agents/logs", timeout=10).json()
        (skill,) = agent["skills"]
        skill["configuration"]["read_paths"] = [str(folder)]
        done = session.patch(f"{base}/agents/{agent['id']}", json={"skills": [skill]}, timeout=10)
    if not done.ok:
        raise Failed(f"the folder could not be declared: {done.text}")


def run(folder: Path, environment: dict[str, str], *, team: bool, as_json: bool) -> dict[str, Any]:
    """The result of the run as `kubiya exec -o json` gives it; in text it streams to the terminal as well."""
    prompt = f"Find what fills the disk under {folder} and tell me what to do about it."
    if team:
        prompt = f"The application under {folder} is down. Find out why."
    whom = ["team", "triage"] if team else ["agent", "ops"]
    arguments = ["exec", *whom, prompt, "--approve", "--timeout", f"{RUN_WITHIN:g}s"]
    ends_with_us = functools.partial(kernel.die_with_parent, signal.SIGTERM, os.getpid())
    kernel.load()
    if as_json:
        process = subprocess.run(
            command(*arguments, "-o", "json"),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=ends_with_us,
        )
        lines = process.stdout.splitlines()
        if process.returncode or not lines:
            raise Failed(f"the run ended with exit code {process.returncode}: {process.stderr.strip()[-500:]}")
        return dict(json.loads(lines[-1]))
    say(f'kubiya exec {" ".join(whom)} "{prompt}" --approve')
    argv = command(*arguments, "--stream")
    code = subprocess.run(argv, env=environment, check=False, preexec_fn=ends_with_us).returncode
    if code:
        raise Failed(f"the run ended with exit code {code}")
    return {}


def facts_of_run(environment: dict[str, str], known: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The execution and its approvals, as the control plane has them."""
    import requests

    base = environment["CONTROL_PLANE_URL"] + "/api/v1"
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {environment['KUBIYA_API_KEY']}"
        listed = session.get(f"{base}/executions", timeout=10).json()
        executions = listed if isinstance(listed, list) else listed.get("executions", [])
        wanted = known.get("execution_id")
        execution = next(e for e in executions if not wanted or e["id"] == wanted)
        approvals = session.get(f"{base}/approvals", params={"execution_id": execution["id"]}, timeout=10).json()
    return execution, approvals if isinstance(approvals, list) else approvals.get("approvals", [])


def check(folder: Path, execution: dict[str, Any], approvals: list[dict[str, Any]]) -> None:
    answer = str(execution.get("response") or "")
    if execution.get("status") != "completed":
        raise Failed(f"the execution is {execution.get('status')}: {execution.get('error_message')}")
    named = [n for n in FILES if str(folder / n) in answer]
    first = min(named, key=lambda n: answer.index(str(folder / n)), default=None)
    if first != BIG:
        raise Failed(f"the answer does not name {folder / BIG} first: {answer!r}")
    if [a["status"] for a in approvals] != ["approved"]:
        raise Failed(f"one approval should have been asked for and granted: {approvals}")


def check_team(home: Path, folder: Path, execution: dict[str, Any], approvals: list[dict[str, Any]]) -> None:
    """Each member's finding is in the answer, and the report that a person approved is on the disk."""
    answer = str(execution.get("response") or "")
    if execution.get("status") != "completed":
        raise Failed(f"the execution is {execution.get('status')}: {execution.get('error_message')}")
    for what in (
        f"{ERRORS} lines in {folder} speak of errors",
        str(folder),
        "processes run here",
        "report is saved as",
    ):
        if what not in answer:
            raise Failed(f"the answer lacks {what!r}: {answer!r}")
    if [a["status"] for a in approvals] != ["approved"]:
        raise Failed(f"one approval should have been asked for and granted: {approvals}")
    reports = list(home.rglob("incident-report.md"))
    if len(reports) != 1 or str(folder / BIG) not in reports[0].read_text():
        raise Failed(f"the report is not there, or does not name {folder / BIG}: {reports}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__.split("\n\n")[0])
    parser.add_argument("--team", action="store_true", help="have the sample team triage an incident")
    parser.add_argument("--keep", action="store_true", help="leave the stack running")
    parser.add_argument("--json", action="store_true", help="print one line of JSON only")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    began = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="kubiya-demo-")).resolve()
    keeping = False
    try:
        folder = home / "disk"
        make_files(folder)
        if not options.json:
            say(f"kubiya dev: Temporal, the control plane and a worker, in {home}")
        with (kept_stack if options.keep else guarded_stack)(home) as facts:
            if not options.json:
                print(f"ready in {facts['seconds']} s: {facts['control_plane_url']}", file=sys.stderr, flush=True)
            environment = {**os.environ, **read_env(Path(facts["env_file"]))}
            if options.team:
                declare(folder, environment)
            known = run(folder, environment, team=options.team, as_json=options.json)
            execution, approvals = facts_of_run(environment, known)
            if options.team:
                check_team(home, folder, execution, approvals)
            else:
                check(folder, execution, approvals)
            keeping = options.keep
        seconds = round(time.monotonic() - began, 1)
        if options.json:
            result = {
                "execution_id": execution["id"],
                "status": execution["status"],
                "answer": execution["response"],
                "seconds": seconds,
            }
            print(json.dumps(result, ensure_ascii=False), flush=True)
        else:
            right = (
                f"each member's finding is in it: {ERRORS} errors" if options.team else f"{BIG} was made the largest"
            )
            say(f"The answer is right: {right}. {seconds} s in all.")
        if keeping:
            say(f"The stack runs on. Dashboard: {facts['control_plane_url']}, Temporal: {facts['temporal_ui_url']}")
            print(f"   prepare a shell:  . {facts['env_file']}", file=sys.stderr)
            print(f"   stop it:          kill {facts['pid']} && rm -r {home}", file=sys.stderr, flush=True)
        return 0
    except Failed as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, SystemExit):
        print("scripts/demo: stopped", file=sys.stderr)
        return 130
    finally:
        if not keeping:
            shutil.rmtree(home, ignore_errors=True)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
