"""A kill -9 of the control plane at each point of telling, of answering, and of a hook's reply: nothing is lost, and
nothing counts twice.

Each point is a run of its own with real parts: Temporal, a worker, a receiver. A message may come twice only when the
control plane dies between the channel's answer and the note of it; then it has the id of the first.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.killable_plane import KillableStack
from tests.support.receiver import Got, Receiver
from tests.support.slack import BOT, CONVERSATION, SlackDouble
from tests.support.stack import wait_until

ANN = "ann@example.org"
SIGNING = "8f742231b10e8888abcd99yyyzzz85a5"
TELLING = (
    *("delivery:before", "delivery:after", "delivery:committed", "counted:before", "counted:after"),
    *("counted:committed", "channel:before", "channel:after", "noted:before", "noted:after", "noted:committed"),
)
ANSWERING = (
    *("decide:before", "resolved:before", "resolved:after", "outbox:before", "outbox:after", "token:before"),
    *("token:after", "token:committed", "decide:after", "signal:before", "signal:after", "removed:before"),
    *("removed:after", "removed:committed"),
)
COMING = (
    *("kept:before", "kept:after", "kept:committed", "start:before", "start:after"),
    *("removed:before", "removed:after", "removed:committed"),
)
REPLYING = (
    *("reply:before", "reply:after", "reply:committed", "posted:before", "posted:after"),
    *("reply noted:before", "reply noted:after", "reply noted:committed"),
)
# The channel has the message, and nothing says so yet.
TWICE = frozenset({"channel:after", "noted:before", "noted:after"})
TWICE_BACK = frozenset({"posted:after", "reply noted:before", "reply noted:after"})
SKILL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"]}}


@dataclass(frozen=True)
class Tally:
    """A tally counts, for one point, messages that came again with the same id, and the presses or posts it took."""

    again: int
    tries: int
    seconds: float


Places = tuple[Receiver, SlackDouble]


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    with Receiver() as receiver, SlackDouble() as slack:
        yield receiver, slack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, places: Places) -> Iterator[KillableStack]:
    receiver, slack = places
    with KillableStack(tmp_path_factory.mktemp("stack")) as made:
        for name, value in {"HOOK": "a secret of the hook", "BOT": BOT, "SIGNING": SIGNING}.items():
            made.call("PUT", f"/secrets/{name}", {"value": value})
        made.call("POST", "/keys", {"name": "Ann", "role": "approver", "email": ANN})
        made.call("POST", "/approval-rules", {"name": "shell", "scope_type": "tool", "scope_value": "shell"})
        channel = {"type": "webhook", "url": receiver.url, "secret": "{{.secret.HOOK}}", "person": ANN}
        made.call("POST", "/notifications", {"name": "told", "channel": channel, "events": ["approval_waiting"]})
        bot = {"type": "slack", "bot_token": "{{.secret.BOT}}", "conversation": CONVERSATION, "api_url": slack.url}
        bot |= {"signing_secret": "{{.secret.SIGNING}}"}
        about = {"name": "slack", "channel": {**bot, "persons": {"U0ANN": ANN}}, "events": ["approval_waiting"]}
        made.call("POST", "/notifications", about)
        made.worker()
        yield made


def told_by(stack: KillableStack, places: Places, scene: str) -> Receiver | SlackDouble:
    """Let the channel of the scene alone tell, so that a point is come to by its delivery."""
    for name in ("told", "slack"):
        stack.call("PATCH", f"/notifications/{name}", {"enabled": (name == "slack") == (scene == "slack")})
    return places[1] if scene == "slack" else places[0]


def messages(receiver: Receiver, execution: str) -> list[Got]:
    return [got for got in receiver.got if got.json.get("data", {}).get("execution_id") == execution]


def delivered(stack: KillableStack, execution: str, notification: str = "told") -> bool:
    """Return whether all deliveries of a run are sent; each approval has one."""
    asked = [each["id"] for each in stack.call("GET", f"/approvals?execution_id={execution}")]
    rows = stack.call("GET", f"/notifications/{notification}/deliveries")
    return bool(asked) and all(row["state"] == "sent" for row in rows)


def told_and_answered_in_slack(stack: KillableStack, slack: SlackDouble, point: str) -> Tally:
    """Play a point with Slack's buttons, which Slack sends to the control plane's address.

    Slack's messages have no id of ours: one that comes twice is two messages. Either can be pressed; one press counts.
    """
    began, file, name = time.monotonic(), stack.trace("told"), f"agent-{uuid.uuid4().hex[:8]}"
    execution = asking(stack, name, file, point)
    wait_until(lambda: in_slack(slack, execution) and delivered(stack, execution, "slack"), 60, f"{point}: told")
    first, last = in_slack(slack, execution)[0], in_slack(slack, execution)[-1]
    if point in ANSWERING:
        stack.arm(point)
    presses = [slack_press(stack, slack, first, "approve")]
    if point in ANSWERING:
        stack.dead(point)
    if presses[0] is None:  # Slack shows who pressed that it failed
        presses.append(slack_press(stack, slack, first, "approve"))
    assert presses[-1] == 200, (point, presses)
    assert slack_press(stack, slack, last, "reject") in (200, None), point
    row = stack.wait(execution)
    assert (row["status"], row["response"]) == ("completed", "Done."), (point, row)
    check_answer(stack, execution, point, file.read_text())
    count = len(in_slack(slack, execution))
    assert count == (2 if point in TWICE else 1), (point, count)
    return Tally(count - 1, len(presses), time.monotonic() - began)


def in_slack(slack: SlackDouble, execution: str) -> list[str]:
    """Return the time stamps of the messages about a run; the link in them names it, also after an answer."""
    with slack._change:
        told = {ts: json.dumps(message) for ts, message in slack.messages.items()}
    known = _told_of.setdefault(execution, [])
    known += [ts for ts, text in told.items() if execution in text and ts not in known]
    return known


_told_of: dict[str, list[str]] = {}


def slack_press(stack: KillableStack, slack: SlackDouble, ts: str, action: str) -> int | None:
    """Press a button; one that is not there any more, as the message was replaced, cannot be pressed: 200."""
    if not any(block["type"] == "actions" for block in slack.messages[ts]["blocks"]):
        return 200
    body, headers = SlackDouble.signed(slack.payload(ts, action, "U0ANN"), SIGNING)
    answer = stack.tried("/answers/slack", data=body, headers=headers)
    return None if answer is None else answer.status_code


def asking(stack: KillableStack, name: str, file: Path, point: str) -> str:
    """Start a run that waits for an approval, through a kill at the point if it is one of telling."""
    steps = [
        {"tools": [{"name": "shell", "arguments": {"command": f"sh -c 'echo x >> {file}'"}}]},
        {"text": "Done."},
    ]
    agent = stack.agent(name, skills=[SKILL])
    if point in TELLING:
        stack.arm(point)
    execution = stack.execute(f"demo:script {json.dumps(steps)}", agent=agent)
    if point in TELLING:
        stack.dead(point)
    return execution


def told_and_answered(stack: KillableStack, receiver: Receiver, point: str) -> Tally:
    began, file, name = time.monotonic(), stack.trace("told"), f"agent-{uuid.uuid4().hex[:8]}"
    execution = asking(stack, name, file, point)
    wait_until(lambda: messages(receiver, execution) and delivered(stack, execution), 60, f"{point}: told")
    path = urlsplit(messages(receiver, execution)[-1].json["data"]["answer"]).path
    if point in ANSWERING:
        stack.arm(point)
    statuses = pressed(stack, path, "approve", point if point in ANSWERING else "")
    other = stack.tried(path, data={"decision": "reject"})
    assert other is not None and other.status_code == 409, (point, other)
    row = stack.wait(execution)
    assert (row["status"], row["response"]) == ("completed", "Done."), (point, row)
    check_answer(stack, execution, point, file.read_text())
    came = Counter(got.headers["webhook-id"] for got in messages(receiver, execution))
    assert len(came) == 1 and came.total() == (2 if point in TWICE else 1), (point, came)
    return Tally(came.total() - 1, len(statuses), time.monotonic() - began)


def pressed(stack: KillableStack, path: str, decision: str, point: str) -> list[int | None]:
    """Press until the page says what became of it, as a person does; start the control plane again when it is dead."""
    first = stack.tried(path, data={"decision": decision})
    statuses = [first.status_code if first is not None else None]
    if point:
        stack.dead(point)
        again = stack.tried(path, data={"decision": decision})
        assert again is not None
        statuses.append(again.status_code)
    # One press counts; the one that was broken off may be the one.
    assert statuses.count(200) <= 1 and set(statuses) <= {200, 409, None}, (point, statuses)
    return statuses


def check_answer(stack: KillableStack, execution: str, point: str, written: str) -> None:
    """Check that the answer counted once: one run of the tool, one end of the request, one record."""
    assert written == "x\n", (point, written)
    kinds = Counter(event["event"] for event in stack.events(execution))
    assert kinds["approval_resolved"] == kinds["tool_completed"] == 1, (point, kinds)
    (approval,) = stack.call("GET", f"/approvals?execution_id={execution}")
    assert (approval["status"], approval["approved_by_email"]) == ("approved", ANN), (point, approval)
    query = f"action=approval.approve&outcome=done&object={approval['id']}"
    records = stack.call("GET", f"/audit?{query}")
    assert len(records) == 1, (point, records)


def alert_and_reply(stack: KillableStack, receiver: Receiver, point: str) -> Tally:
    began, name = time.monotonic(), f"h{uuid.uuid4().hex[:9]}"
    reply = {"kind": "webhook", "url": f"{receiver.url}/{name}", "secret": "{{.secret.HOOK}}"}
    hook = {
        **{"name": name, "source": "json", "agent": "ops", "queue": "default"},
        "prompt": f"demo:script {json.dumps([{'text': 'It was debug.log.'}])} {{{{title}}}}",
        "proof": {"secret": "{{.secret.HOOK}}"},
        "reply": {**reply, "private_networks": ["127.0.0.0/8"]},
    }
    stack.call("POST", "/hooks", hook)
    stack.arm(point)
    body = {"title": "Disk full", "group": "db1", "id": name}
    post = {"json": body, "headers": {"Authorization": "Bearer a secret of the hook"}}
    posts = [stack.tried(f"/hooks/{name}", **post)]
    stack.dead(point)
    if posts[0] is None:  # as each monitor does that was not answered
        posts.append(stack.tried(f"/hooks/{name}", **post))
    assert posts[-1] is not None and posts[-1].status_code == 202, (point, posts)
    execution = posts[-1].json()["execution_id"]
    row = stack.wait(execution)
    assert (row["status"], row["response"]) == ("completed", "It was debug.log."), (point, row)

    def came() -> list[Got]:
        return [got for got in receiver.got if got.path == f"/{name}"]

    wait_until(lambda: came() and replied(stack, name) == ["sent"], 60, f"{point}: replied")
    runs = [each for each in stack.call("GET", "/executions?limit=200") if (each.get("hook") or {}).get("name") == name]
    assert [each["id"] for each in runs] == [execution], (point, runs)
    kinds = Counter(event["event"] for event in stack.events(execution))
    assert kinds["done"] == kinds["run_started"] == 1, (point, kinds)
    ids = Counter(got.headers["webhook-id"] for got in came())
    assert list(ids) == [execution] and ids.total() == (2 if point in TWICE_BACK else 1), (point, ids)
    assert {got.json["answer"] for got in came()} == {"It was debug.log."}, point
    return Tally(ids.total() - 1, len(posts), time.monotonic() - began)


def replied(stack: KillableStack, name: str) -> list[str]:
    """Return the states of the replies to a hook's deliveries, those that came again left out."""
    rows = stack.call("GET", f"/hooks/{name}/deliveries")
    return sorted({row["reply"]["state"] for row in rows if row["reply"]})


Play = Callable[[KillableStack, Any, str], Tally]
SCENES: dict[str, tuple[Play, tuple[str, ...]]] = {
    "webhook": (told_and_answered, (*TELLING, *ANSWERING)),
    "slack": (told_and_answered_in_slack, (*TELLING, *ANSWERING)),
    "hook": (alert_and_reply, (*COMING, *REPLYING)),
}
FAST = {
    "webhook": ("delivery:after", "channel:after", "token:after", "signal:after"),
    "slack": ("channel:after", "decide:before", "token:committed"),
    "hook": ("kept:committed", "start:after", "reply:after", "posted:after"),
}


def play(stack: KillableStack, place: Any, scene: str, points: tuple[str, ...]) -> dict[str, Tally]:
    """Play all points; a failure says what else fails."""
    tallies: dict[str, Tally] = {}
    failures: list[str] = []
    for point in points:
        try:
            tallies[point] = SCENES[scene][0](stack, place, point)
        except AssertionError as error:
            failures.append(f"{point}: {error}")
            assert stack.server is not None
            if stack.server.popen.poll() is not None:
                stack.start_server()
            stack.armed.unlink(missing_ok=True)
    assert not failures, "\n\n".join(failures)
    return tallies


@pytest.mark.timeout(240)
@pytest.mark.parametrize("scene", list(SCENES)[:1])  # the slow test has all of them, at all points
def test_nothing_is_lost_or_counts_twice_at_some_points(stack: KillableStack, places: Places, scene: str) -> None:
    play(stack, told_by(stack, places, scene), scene, FAST[scene])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("scene", SCENES)
def test_nothing_is_lost_or_counts_twice_at_any_point(stack: KillableStack, places: Places, scene: str) -> None:
    tallies = play(stack, told_by(stack, places, scene), scene, SCENES[scene][1])
    again: Any = sorted(point for point, tally in tallies.items() if tally.again)
    more = sum(tally.tries > 1 for tally in tallies.values())
    slowest = max(tally.seconds for tally in tallies.values())
    print(f"{scene}: {len(tallies)} points, 0 lost, 0 counted twice; came again with the same id at {again}")
    print(f"{scene}: tried again from outside at {more} points; slowest {slowest:.1f} s")
