"""Executions whose worker is killed at one step, and what has to be true of them in the end (D1, D2, D5, D6).

A `Scene` says who takes part and what each does, step by step. `play` performs it on workers of which the one that
comes to `point` kills itself (tests/support/self_killing_worker.py). The model endpoint counts its requests; each tool
adds a line to a file of its own, so that a second run of it shows. `check` compares these counts with the scene.

A point is `<activity type>:<nth call>:<before|during|after|left>`; `""` kills nobody. Who gets a call is Temporal's
choice, so the nth call kills whichever worker of the queue has it. Other calls may be under way on that worker. At
`left` the call that is struck is the one after the nth, before it has done anything; or none, when
another worker has it.
"""

from __future__ import annotations

import json
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubiya_worker.protocol import names
from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import FINAL, Process, Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
FILES = {"name": "files", "type": "file_system", "configuration": {}}
MAIN = "main"
STREAMED = (names.CALL_MODEL, names.CALL_TOOL)  # calls that can be struck while they are under way
ASKS_ITSELF = ("collaborate", "sequential")  # modes in which the team asks its members, not its model


@dataclass(frozen=True)
class Scene:
    """`plays`: what each one's model says: `say`, `write`, `look` (a brief tool) or `ask NAME …`; `-` is a step at
    which it is not asked.

    `teams`: mode and members, those within others first; the last one is executed, or the one agent that there is.
    `answer`: whose last text is the answer. `queues`: who is not on MAIN. `struck`: the queue whose `workers` can be
    killed; a single one is replaced. `alone`: on these no two calls of models, or of tools that write, go on at once.
    """

    plays: Mapping[str, tuple[str, ...]]
    answer: str
    teams: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    queues: Mapping[str, str] = field(default_factory=dict)
    struck: str = MAIN
    workers: int = 2
    alone: bool = False

    @property
    def top(self) -> str:
        return [*self.plays, *self.teams][-1]

    def lines(self, *verbs: str) -> dict[str, str]:
        """Return text -> line; each text occurs once in the whole scene."""
        said = {f"{who} {n}.": line for who, lines in self.plays.items() for n, line in enumerate(lines)}
        return {
            text: line for text, line in said.items() if line.split()[0] in (verbs or ("say", "write", "look", "ask"))
        }

    @property
    def delegates(self) -> list[str]:
        """Return the members that are asked, by a model or by the team itself."""
        asked = [name for line in self.lines("ask").values() for name in line.split()[1:]]
        return asked + [x for mode, members in self.teams.values() if mode in ASKS_ITSELF for x in members]


@dataclass
class Outcome:
    scene: Scene
    point: str
    row: dict[str, Any]
    events: list[dict[str, Any]]
    asked: Counter[str]  # how often a model was asked for each text
    written: dict[str, int]  # lines of each text's tool
    steps: Counter[str]  # activities by type, as far as they were counted
    under_way: list[tuple[str, str]]  # (activity id, execution) on the worker that was killed; first the one struck
    seconds: float  # from the kill to the end of the execution
    without: float  # of these, how long there was no worker: a busy machine starts the next one slowly


def play(stack: Stack, scene: Scene, point: str = "") -> Outcome:
    mark = uuid.uuid4().hex[:8]
    files = {text: stack.trace(f"{mark}-{text.replace(' ', '-')}txt") for text in scene.lines("write")}
    with ModelEndpoint(by_model={f"gpt-{who}": _script(scene, who, mark, files) for who in scene.plays}) as endpoint:
        env = {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "sk-test"}
        count, last = (stack.folder / f"{mark}-{name}" for name in ("count", "last"))
        armed = {
            "kill_at": point or "nothing:0:before",
            "KILL_COUNT_FILE": str(count),
            "KILL_UNDER_WAY_FILE": str(last),
        }
        queues = {label: stack.queue(f"{label}-{mark}") for label in {MAIN, *scene.queues.values()}}
        crew = [stack.worker(queues[scene.struck], ready=False, **armed, **env) for _ in range(scene.workers)]
        others = [stack.worker(q, ready=False, **env) for label, q in queues.items() if label != scene.struck]
        for worker in [*crew, *others]:
            worker.expect("worker.ready", 120)
        path = f"/{'teams' if scene.teams else 'agents'}/{_create(stack, scene, mark)}/execute"
        request = {"prompt": "Do your parts.", "worker_queue_id": queues[MAIN]}
        execution = stack.call("POST", path, request)["execution_id"]
        struck = bool(point) and _killed(stack, execution, crew)
        killed = time.monotonic()
        if struck and scene.workers == 1:
            others.append(stack.worker(queues[scene.struck], ready=True, **env))
        without = time.monotonic() - killed
        row = stack.wait(execution, timeout=120)
        seconds = time.monotonic() - killed
        events = list(stack.events(execution))
        assert [w.popen.poll() for w in crew if w.popen.poll() is not None] == [-9] * struck, point
        for worker in [*crew, *others]:
            worker.kill()
        asked = Counter(_text_of(sent["body"]) for sent in endpoint.requests)
    written = {text: len(file.read_text().splitlines()) if file.exists() else 0 for text, file in files.items()}
    steps = Counter({path.suffix[1:]: path.stat().st_size for path in count.parent.glob(f"{count.name}.*")})
    under_way = [(str(activity), str(of)) for activity, of in json.loads(last.read_text())] if struck else []
    return Outcome(scene, point, row, events, asked, written, steps, under_way, seconds, without)


def _killed(stack: Stack, execution: str, crew: list[Process]) -> bool:
    """Waits for it; False when the execution is over. Its row can say so before the last step's worker is dead."""
    deadline = time.monotonic() + 90
    over = False
    while all(worker.popen.poll() is None for worker in crew):
        if time.monotonic() >= deadline:
            assert over, f"no worker is killed: {stack.execution(execution)}"
            return False
        if not over and stack.execution(execution)["status"] in FINAL:
            over, deadline = True, time.monotonic() + 15
        time.sleep(0.1)
    return True


def _script(scene: Scene, who: str, mark: str, files: Mapping[str, Path]) -> list[dict[str, Any]]:
    script = []
    for step, line in enumerate(scene.plays[who]):
        text = f"{who} {step}."
        verb, *asked = line.split()
        calls = [(f"{who}_{step}_{name}", f"ask_{name}-{mark}", {"task": "Do your part."}) for name in asked]
        if verb == "write":
            calls = [(f"{who}_{step}", "shell", {"command": f"sh -c 'echo x >> {files[text]}; sleep 0.3'"})]
        if verb == "look":
            calls = [(f"{who}_{step}", "list_files", {"path": "."})]
        tools = [{"id": call, "name": name, "arguments": arguments} for call, name, arguments in calls]
        script.append({"text": text, "tools": tools})
    return script


def _create(stack: Stack, scene: Scene, mark: str) -> str:
    """The id of what is executed."""
    agents = [who for who in scene.plays if who not in scene.teams]
    ids = {who: stack.agent(f"{who}-{mark}", skills=[SHELL, FILES], model_id=f"gpt-{who}") for who in agents}
    for name, (mode, members) in scene.teams.items():
        configuration = {
            "mode": mode,
            "member_ids": [ids[member] for member in members],
            "llm": {"model": f"gpt-{name}"},
            "member_queues": {f"{who}-{mark}": f"{queue}-{mark}" for who, queue in scene.queues.items()},
        }
        body = {"name": f"{name}-{mark}", "configuration": configuration}
        ids[name] = str(stack.call("POST", "/teams", body)["id"])
    return ids[scene.top]


def _text_of(body: Mapping[str, Any]) -> str:
    """Return the text that a model is asked for."""
    return f"{body['model'].removeprefix('gpt-')} {sum(m['role'] == 'assistant' for m in body['messages'])}."


def check(outcome: Outcome) -> None:
    scene, events = outcome.scene, outcome.events
    # How many reports there are depends on which members are done at the same time.
    assert outcome.under_way or outcome.point.split(":")[0] in ("", names.REPORT), outcome
    answer = f"{scene.answer} {len(scene.plays[scene.answer]) - 1}."
    assert (outcome.row["status"], outcome.row["response"]) == ("completed", answer), outcome
    sequence = [int(e["id"].split("_")[-2]) for e in events]
    assert sequence == list(range(1, len(sequence) + 1)), outcome
    shown = _shown(events)
    assert Counter(shown.values()) == Counter(scene.lines().keys()), outcome
    for who in scene.plays:
        mine = [text for text in shown.values() if text.split()[0] == who]
        assert mine == sorted(mine), outcome
    _check_models(outcome, shown)
    _check_tools(outcome)
    _check_members(outcome)


def _check_models(outcome: Outcome, shown: Mapping[str, str]) -> None:
    """Check that finished calls are not repeated, and those under way once at the most."""
    assert set(outcome.asked) == set(outcome.scene.lines()) and max(outcome.asked.values()) <= 2, outcome
    again = {text for text, times in outcome.asked.items() if times > 1}
    struck, under_way = _struck(outcome, "model-")
    texts = {}
    for activity, execution in under_way:
        turn, step = map(int, activity.split("-")[1:])
        assert turn == 1, "in the first turn a step has the number of its message"
        texts[activity, execution] = shown[names.assistant_message_id(execution, step)]
    may = set(texts.values())
    must = set()
    if struck and outcome.point.endswith((":before", ":left")):
        may.discard(texts[struck])
    elif struck:
        must.add(texts[struck])
    assert must <= again <= may, (again, must, may, outcome)


def _check_tools(outcome: Outcome) -> None:
    """Each call is begun and ended once; none that writes runs twice, and one that was lost says so."""
    scene = outcome.scene
    begun, ended = (
        Counter(e["data"]["tool_execution_id"] for e in _tools(outcome.events, x)) for x in ("start", "end")
    )
    assert len(ended) == len(scene.delegates) + len(scene.lines("write", "look")), outcome
    assert set(begun) <= set(ended) and {*begun.values(), *ended.values()} == {1}, outcome
    told = [e["data"] for e in _tools(outcome.events, "end") if e["data"].get("outcome") == "unknown"]
    unknown = {data["tool_execution_id"].rpartition(":")[2] for data in told}
    writes = {_call_of(text) for text in scene.lines("write")}
    struck, under_way = _struck(outcome, "tool-")
    may = {activity.removeprefix("tool-") for activity, _ in under_way} & writes
    hit = struck[0].removeprefix("tool-") if struck else ""
    after = outcome.point.endswith(":after")
    must = {hit} & writes if not after else set()
    assert must <= unknown <= may, (unknown, must, may, outcome)
    for text, lines in outcome.written.items():
        call = _call_of(text)
        assert lines == 1 or (lines == 0 and call in unknown and not (after and call == hit)), (text, outcome)


def _check_members(outcome: Outcome) -> None:
    """All that a member does lies between its leader's call of it and that call's end."""
    places: dict[str, list[dict[str, Any]]] = {}
    for event in outcome.events:
        for name in {event["data"].get("delegate"), event["data"].get("member_name")} - {None}:
            places.setdefault(name, []).append(event)
    assert len(places) == len(outcome.scene.delegates), outcome
    for name, mine in places.items():
        for event, kind in ((mine[0], "tool_started"), (mine[-1], "tool_completed")):
            assert (event["data"].get("delegate"), event["event"].removeprefix("member_")) == (name, kind), outcome


def _struck(outcome: Outcome, prefix: str) -> tuple[tuple[str, str] | None, set[tuple[str, str]]]:
    """The activity that was struck, if it is of this kind, and those that may be done again or be unknown."""
    counted = outcome.under_way[:1] if outcome.scene.alone else outcome.under_way
    first = outcome.under_way[0] if outcome.under_way else ("", "")
    return first if first[0].startswith(prefix) else None, {x for x in counted if x[0].startswith(prefix)}


def _call_of(text: str) -> str:
    return text.rstrip(".").replace(" ", "_")


def _tools(events: Iterable[dict[str, Any]], when: str) -> list[dict[str, Any]]:
    kind = {"start": "tool_started", "end": "tool_completed"}[when]
    return [event for event in events if event["event"] in (kind, f"member_{kind}")]


def _shown(events: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return the text that a client shows in the end, by message. `reset_chunks` discards a message's chunks."""
    shown: dict[str, str] = {}
    for event in events:
        data = event["data"]
        if event["event"] == "reset_chunks":
            shown[data["message_id"]] = ""
        elif event["event"] in ("message_chunk", "member_message_chunk"):
            shown[data["message_id"]] = shown.get(data["message_id"], "") + data["content"]
    return shown


def points(steps: Mapping[str, int]) -> list[str]:
    """All points of an execution with so many activities of each type."""
    return [
        f"{kind}:{n}:{when}"
        for kind, number in sorted(steps.items())
        for n in range(1, number + 1)
        for when in ("before", "during", "after", "left")
        if when in ("before", "after") or kind in STREAMED
    ]


def play_all(stack: Stack, plays: Iterable[tuple[Scene, str]], at_once: int) -> list[Outcome]:
    """All are played and checked, so that a failure says what else fails."""
    failures: list[str] = []

    def one(scene: Scene, point: str) -> Outcome | None:
        try:
            outcome = play(stack, scene, point)
            check(outcome)
        except AssertionError as error:
            failures.append(f"{point}: {error}")
            return None
        return outcome

    with ThreadPoolExecutor(at_once) as pool:
        outcomes = list(pool.map(lambda case: one(*case), plays))
    assert not failures, "\n\n".join(failures)
    return [outcome for outcome in outcomes if outcome]


def summary(outcomes: Iterable[Outcome]) -> str:
    """Summarize the outcomes of the runs whose worker was killed."""
    struck = [outcome for outcome in outcomes if outcome.under_way]
    seconds = sorted(outcome.seconds for outcome in struck)
    again = sum(outcome.asked.total() - len(outcome.scene.lines()) for outcome in struck)
    return (
        f"{len(seconds)} kill points: 0 lost, 0 repeated; {again} model calls under way made again; "
        f"recovery median {statistics.median(seconds):.1f} s, slowest {seconds[-1]:.1f} s"
    )
