"""Slack's messages and buttons, against a double that refuses what Slack refuses."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Iterator

import pytest

from kubiya_worker.server.api import answers
from kubiya_worker.server.edges import notifications as edges
from kubiya_worker.server.notify.settings import NotifySettings
from kubiya_worker.server.notify.slack_sockets import SlackSockets
from tests.support.api import Api, Object
from tests.support.receiver import Receiver
from tests.support.slack import APP, BOT, CONVERSATION, SlackDouble, check_blocks
from tests.unit.server.test_answers import ANN, clean, signals, status
from tests.unit.server.test_notifications import HERE, PAGE, ask, deliveries, fail, make_due, send, told_of

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets that the SDK leaves to the collector


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(tmp_path_factory.mktemp("slack")) as made:
        made.plane.notifier.use(HERE)
        for name, value in {"BOT": BOT, "APP": APP, "WRONG": "xapp-wrong"}.items():
            made.call("PUT", f"/secrets/{name}", {"value": value})
        made.key("approver", "Ann", email=ANN)
        made.key("viewer", "Eve", email="eve@example.org")
        yield made


@pytest.fixture(autouse=True)
def no_others(api: Api) -> Iterator[None]:
    yield
    clean(api)


@pytest.fixture
def slack() -> Iterator[SlackDouble]:
    with SlackDouble() as made:
        yield made


def bot(slack: SlackDouble, **more: object) -> Object:
    channel = {"type": "slack", "bot_token": "{{.secret.BOT}}", "conversation": CONVERSATION, "api_url": slack.url}
    buttons = {"app_token": "{{.secret.APP}}", "persons": {"U0ANN": ANN, "U0EVE": "eve@example.org"}}
    return {**channel, **buttons, **more}


def connected(api: Api, slack: SlackDouble, work: Callable[[], Awaitable[None]]) -> None:
    """Do something while the connections of Socket Mode are held."""

    async def scene() -> None:
        sockets = SlackSockets(
            functools.partial(answers.slack_channels, api.plane),
            functools.partial(answers.pressed_in_slack, api.plane),
            lambda: api.plane.notifier.out,
        )
        holding = asyncio.create_task(sockets.run())
        try:
            await asyncio.to_thread(slack.wait, lambda: slack.connections)
            await work()
        finally:
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)

    api.run(scene())


def test_a_button_of_a_bot_answers_by_socket_mode_within_three_seconds(api: Api, slack: SlackDouble) -> None:
    """bot_token, app_token, conversation, api_url, persons."""
    told_of(api, bot(slack), "approval_waiting")
    approval = ask(api, tool_args={"command": "<!channel> *bold* " + "x" * 5_000})
    send(api)
    ((ts, message),) = slack.messages.items()
    assert (
        message["text"] == "ops waits for an approval of shell" and "<!channel>" in message["blocks"][1]["text"]["text"]
    )
    assert message["blocks"][1]["text"]["type"] == "plain_text"  # so that it mentions nobody
    assert slack.button(ts, "open")[1]["url"].startswith(PAGE)
    token = slack.button(ts, "approve")[1]["value"]

    async def scene() -> None:
        await asyncio.to_thread(slack.press, ts, "open", "U0ANN")
        await asyncio.to_thread(slack.press, ts, "approve", "U0STRANGER")
        await asyncio.to_thread(slack.wait, lambda: len(slack.ephemeral) == 1)
        await asyncio.to_thread(slack.press, ts, "approve", "U0EVE")
        await asyncio.to_thread(slack.wait, lambda: len(slack.ephemeral) == 2)
        assert slack.ephemeral[0]["user"] == "U0STRANGER" and PAGE in slack.ephemeral[0]["text"]
        assert "viewer" in slack.ephemeral[1]["text"] and slack.messages[ts] == message
        await asyncio.to_thread(slack.renew)
        assert not slack.late
        await asyncio.to_thread(slack.press, ts, "reject", "U0ANN")
        await asyncio.to_thread(slack.wait, lambda: slack.messages[ts] != message)

    connected(api, slack, scene)
    assert slack.messages[ts]["text"] == "shell: rejected by Ann"
    assert not any(block["type"] == "actions" for block in slack.messages[ts]["blocks"])
    assert len(slack.acknowledged) == 4 and max(slack.acknowledged.values()) < 3
    assert len(slack.ephemeral) == 2  # one that comes twice around a renewal is worked on once
    (signal,) = signals(api, approval)
    assert (signal["decision"], signal["approver"]["email"]) == ("rejected", ANN)
    record = api.call("GET", "/audit?action=approval.reject&limit=1")[0]
    assert record["after"]["answered_by"].endswith("(slack)") and token not in str(record)


def test_a_button_that_is_pressed_again_counts_once(api: Api, slack: SlackDouble) -> None:
    told_of(api, bot(slack), "approval_waiting")
    approval = ask(api)
    send(api)
    (ts,) = slack.messages

    async def scene() -> None:
        before = slack.messages[ts]
        both = [asyncio.to_thread(slack.press, ts, action, "U0ANN") for action in ("approve", "reject")]
        await asyncio.gather(*both)
        await asyncio.to_thread(slack.wait, lambda: slack.messages[ts] != before and slack.ephemeral)

    connected(api, slack, scene)
    assert len(signals(api, approval)) == 1 and status(api, approval)["status"] in ("approved", "rejected")


def test_an_incoming_webhook_has_a_link_and_no_button_that_answers(api: Api) -> None:
    with Receiver() as receiver:
        api.call("PUT", "/secrets/HOOK", {"value": f"{receiver.url}/services/T/B/X"})
        told_of(api, {"type": "slack", "url": "{{.secret.HOOK}}"}, "approval_waiting")
        ask(api)
        send(api)
        (got,) = receiver.got
        assert got.path == "/services/T/B/X" and got.json["text"]
        check_blocks(got.json["blocks"])
        assert [one["action_id"] for one in got.json["blocks"][2]["elements"]] == ["open"]


def test_what_slack_refuses_is_tried_again_or_dead(api: Api, slack: SlackDouble) -> None:
    made = told_of(api, bot(slack), "run_failed")
    fail(api)
    slack.errors += ["account_inactive", "invalid_blocks"]
    send(api)
    assert deliveries(api, made)[0]["error"] == "Slack refuses chat.postMessage: account_inactive"
    make_due(api)
    send(api)
    assert deliveries(api, made)[0]["state"] == "dead"


def test_a_connection_that_cannot_be_had_is_told_and_tried_again(
    api: Api, slack: SlackDouble, caplog: pytest.LogCaptureFixture
) -> None:
    made = told_of(api, bot(slack, app_token="{{.secret.WRONG}}"), "approval_waiting")

    async def scene() -> None:
        sockets = SlackSockets(
            functools.partial(answers.slack_channels, api.plane),
            functools.partial(answers.pressed_in_slack, api.plane),
            lambda: api.plane.notifier.out,
        )
        await sockets.look()
        assert "Slack refuses apps.connections.open: invalid_auth" in caplog.text and "xapp-wrong" not in caplog.text
        api.plane.notifier.use(NotifySettings(url=PAGE))
        await sockets.look()
        api.plane.notifier.use(HERE)
        assert "KUBIYA_NOTIFY_NETWORKS" in caplog.text
        await sockets_opened(sockets)

    async def sockets_opened(sockets: SlackSockets) -> None:
        changed = api.plane.notifications.update(made, {"channel": bot(slack)})
        await sockets.look()
        await asyncio.to_thread(slack.wait, lambda: slack.connections == 1)
        api.plane.notifications.update(changed, {"enabled": False})
        await sockets.look()
        await asyncio.to_thread(slack.wait, lambda: slack.connections == 0)

    with caplog.at_level(logging.WARNING):
        api.run(scene())


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({}, "needs url, or bot_token"),
        ({"url": "{{.secret.BOT}}", "bot_token": "{{.secret.BOT}}", "conversation": CONVERSATION}, "needs url, or"),
        ({"bot_token": "{{.secret.BOT}}"}, "needs url, or"),
        ({"url": "https://hooks.slack.com/services/x"}, "credential"),
        ({"url": "{{.secret.BOT}}", "app_token": "{{.secret.APP}}", "persons": {"U1": ANN}}, "need a bot"),
        ({"bot_token": "{{.secret.BOT}}", "conversation": CONVERSATION, "persons": {"U1": ANN}}, "need both"),
        ({"bot_token": BOT, "conversation": CONVERSATION}, "pattern"),
    ],
)
def test_a_channel_that_would_not_work_is_refused(api: Api, fields: Object, word: str) -> None:
    body = {"name": "n", "channel": {"type": "slack", **fields}, "events": ["run_failed"]}
    assert word in str(api.call("POST", "/notifications", body, 422)["detail"])


def test_buttons_without_the_extra_are_refused(api: Api, slack: SlackDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges, "_has_socket_mode", lambda: False)
    body = {"name": "n", "channel": bot(slack), "events": ["run_failed"]}
    assert "kubiya-worker[server,notify]" in str(api.call("POST", "/notifications", body, 422)["detail"])
