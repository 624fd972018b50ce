"""`kubiya test`: play recorded runs again, and show what differs.

Exit codes:

      0  everything holds
      1  something differs
     64  the command line is wrong, or a file cannot be read
     69  the local stack that plays the tests could not be reached
     78  a file is no test
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kubiya_worker.cli import completion, tables
from kubiya_worker.cli.api.agents import AgentApi
from kubiya_worker.cli.api.definitions import DefinitionsApi
from kubiya_worker.cli.connection import Api, connect
from kubiya_worker.cli.tables import Cells, field
from kubiya_worker.cli.terminal import Paint, one_line
from kubiya_worker.errors import UsageError, WorkerError
from kubiya_worker.protocol.names import DEMO_MODEL

if TYPE_CHECKING:
    from kubiya_worker.cli.run_test_file import NamedTest
    from kubiya_worker.cli.run_test_play import Changes, PlayedTest
    from kubiya_worker.launch.stack_plan import Facts

_SKILL_EXAMPLE: Final = 'Such as --skill \'shell={"allowed_commands": ["df"]}\''
SCRIPTED: Final = 60.0  # seconds that a run may take with recorded answers
REAL: Final = 600.0  # the same with a real model or real tools

COLUMNS: Final = (
    field("test", most=30),
    Cells("", lambda row: "holds" if row["holds"] else "differs", wide=True),
    field("expectation", most=40),
    field("recorded", most=50),
    field("now", most=70),
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", nargs=-1, metavar="FILE...", shell_complete=completion.files)
@click.option("--model", help="Ask this model, instead of giving the recorded answers.")
@click.option("--agent", help="Play with another definition: an agent of the control plane, or a file with one.")
@click.option("--prompt-file", metavar="FILE", help="Play with the system prompt in FILE; needs --model.")
@click.option("--skill", "skills", multiple=True, metavar="TYPE[=JSON]", help="Play with this skill and configuration.")
@click.option("--real-tools", is_flag=True, help="Run the tools, instead of returning what was recorded.")
@click.option(
    "--timeout",
    type=click.FloatRange(1),
    metavar="SECONDS",
    help="Time for a run.  [default: 60; with a real model or real tools 600]",
)
@click.option("--schema", is_flag=True, help="Print the JSON schema of a test, for editors.")
@tables.output(tables.TABLE, tables.WIDE, tables.JSON)
def test(
    paths: tuple[str, ...],
    model: str | None,
    agent: str | None,
    prompt_file: str | None,
    skills: tuple[str, ...],
    real_tools: bool,
    timeout: float | None,
    schema: bool,
    output: str,
) -> int:
    """Play recorded runs, and show what differs. FILE is what `kubiya runs export ID --as-test` wrote, or a folder.

    Temporal, a control plane and a worker are started for it and removed at the end. The model's answers, the results
    of tools and the answers of people are the recorded ones, unless the options say otherwise; rules, skills, budgets
    and teams are at work as in any run.

    Example: kubiya test tests/ --model gpt-5-mini
    """
    from kubiya_worker.cli import run_test_file  # imports the server's models, which `kubiya --help` does not need
    from kubiya_worker.cli.run_test_play import Changes, check
    from kubiya_worker.launch.local import check_server_installed

    check_server_installed()
    if schema:
        print(json.dumps(run_test_file.schema(), indent=1))
        return 0
    if not paths:
        raise UsageError("No test is given", remedy="kubiya runs export ID --as-test FILE writes one")
    if prompt_file and not model:
        raise UsageError("--prompt-file needs --model", remedy="The recorded answers do not depend on a prompt")
    tests = run_test_file.load(paths)
    changes = Changes(
        model=model or "",
        agent=_agent(agent) if agent else None,
        prompt=_text(prompt_file) if prompt_file else None,
        skills=[_skill(each) for each in skills],
        real_tools=real_tools,
    )
    for named in tests:
        check(named.test, changes)  # before a stack is started for it
    limit = timeout or (REAL if model or real_tools else SCRIPTED)
    played = TestStack(tests, changes, limit).run()
    _show(played, output)
    return 0 if all(each.holds for each in played) else 1


def _agent(key: str) -> dict[str, Any]:
    """Return the document of an agent: out of a file, or as the control plane has it now."""
    if Path(key).is_file():
        from kubiya_worker.cli import definition_files

        agents = [each.body for each in definition_files.load([key]) if each.body["kind"] == "Agent"]
        if len(agents) != 1:
            raise UsageError(
                f"--agent: {key} has {len(agents)} agents, and one is needed",
                remedy="Name a file with one agent, or an agent that is stored",
            )
        return agents[0]
    api = connect()
    return DefinitionsApi(api).get("Agent", str(AgentApi(api).find("agent", key)["name"]))


def _text(name: str) -> str:
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--prompt-file: {name} cannot be read: {error}",
            remedy="Check its path and rights, and that it is UTF-8 text",
        ) from error


def _skill(option: str) -> dict[str, Any]:
    """Return the skill of `TYPE` or `TYPE={"key": …}`."""
    kind, equals, text = option.partition("=")
    try:
        configuration = json.loads(text) if equals else {}
    except ValueError as error:
        raise UsageError(f"--skill {kind}: the configuration is no JSON: {error}", remedy=_SKILL_EXAMPLE) from error
    if not isinstance(configuration, dict) or not kind.strip():
        raise UsageError(f"--skill {option[:60]!r} is not TYPE or TYPE={{…}}", remedy=_SKILL_EXAMPLE)
    return {"type": kind.strip(), **({"configuration": configuration} if configuration else {})}


class TestStack:
    """A local stack that exists for some tests: it plays them in a thread, because signals are for the first one."""

    __test__ = False  # for pytest, which collects classes by this name

    def __init__(self, tests: Sequence[NamedTest], changes: Changes, timeout: float) -> None:
        self._tests, self._changes, self._timeout = tests, changes, timeout
        self._played: list[PlayedTest] = []
        self._error: BaseException | None = None
        self._over = False

    def run(self) -> list[PlayedTest]:
        """Start the stack, play, and leave nothing. Raises WorkerError, and KeyboardInterrupt for Ctrl-C."""
        from kubiya_worker.cli.dev import is_configured, local_endpoint
        from kubiya_worker.launch.stack import Stack
        from kubiya_worker.launch.stack_plan import StackOptions

        folder = Path(tempfile.mkdtemp(prefix="kubiya-test-"))
        self._recording = folder / "recording.json"
        self._recording.write_text("{}", encoding="utf-8")
        model = self._changes.model or DEMO_MODEL
        environ = {**os.environ, "KUBIYA_RECORDING": str(self._recording)}
        if self._changes.model and not is_configured(environ):
            environ |= local_endpoint(model)
        options = StackOptions(folder / "stack", port=0, temporal_port=0, ui_port=None, ephemeral=True, model=model)
        try:
            Stack(options, self, environ).run()
        except WorkerError:
            print(f"kubiya test: the logs are in {folder / 'stack' / 'logs'}", file=sys.stderr)
            raise
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
        if self._error is not None:
            raise self._error
        if not self._over:
            raise KeyboardInterrupt
        return self._played

    # -- the stack's observer

    def ready(self, facts: Facts) -> None:
        threading.Thread(target=self._play, args=(facts,), name="tests", daemon=True).start()

    def restarting(self, end: str, delay: float) -> None:
        print(f"kubiya test: the worker {end}. It is started again in {delay:g} s", file=sys.stderr, flush=True)

    def stopping(self, name: str) -> None:
        """Say nothing: it takes a second."""

    def line(self, name: str, text: str) -> None:
        """Show no logs."""

    def _play(self, facts: Facts) -> None:
        from kubiya_worker.cli.run_test_play import TestPlayer

        try:
            api = Api(facts.control_plane_url, facts.api_key, os.environ)
            player = TestPlayer(api, self._recording, self._changes, self._timeout)
            for named in self._tests:
                self._played.append(player.play(named))
            self._over = True
        except BaseException as error:  # it is raised again by `run`
            self._error = error
        finally:
            os.kill(os.getpid(), signal.SIGTERM)


def _show(played: Sequence[PlayedTest], output: str) -> None:
    failed = [each for each in played if not each.holds]
    if output == tables.JSON:
        print(json.dumps({"tests": [_wire(each) for each in played], "failed": len(failed)}, ensure_ascii=False))
        return
    rows: list[Mapping[str, Any]] = [
        {"test": each.named.name, **vars(line)}
        for each in played
        for line in each.lines
        if output == tables.WIDE or not line.holds
    ]
    if rows:
        print(tables.table(rows, COLUMNS, wide=output == tables.WIDE, paint=Paint.for_stream(sys.stdout)))
    count = f"{len(played)} test{'s' if len(played) != 1 else ''}"
    verdict = "all hold" if not failed else f"{len(failed)} differ{'s' if len(failed) == 1 else ''}"
    names = f": {', '.join(one_line(each.named.name, 60) for each in failed)}" if failed else ""
    seconds = sum(each.seconds for each in played)
    print(f"{count}, {verdict}{names} ({seconds:.1f} s)", file=sys.stderr)


def _wire(played: PlayedTest) -> dict[str, Any]:
    return {
        "name": played.named.name,
        "file": played.named.file,
        "holds": played.holds,
        "seconds": round(played.seconds, 2),
        "lines": [vars(line) for line in played.lines],
    }
