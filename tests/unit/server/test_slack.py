"""Slack's messages and buttons, against a double that refuses what Slack refuses."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Iterator

import httpx
import pytest

from kubiya_worker.server.api import slack_answers
from kubiya_worker.server.edges import notifications as edges
from kubiya_worker.server.hooks import proofs
from kubiya_worker.server.notify.settings import NotifySettings
from kubiya_worker.server.notify.slack_sockets import SlackSockets
from tests.support.api import Api, Object
from tests.support.receiver import Receiver
from tests.support.slack import APP, BOT, CONVERSATION, SlackDouble, check_blocks
from tests.unit.server.test_answers import ANN, clean, signals, status
from tests.unit.server.test_notifications import HERE, PAGE, ask, deliveries, fail, make_due, send, told_of

SIGNING, OTHER = "8f742231b10e8888abcd99yyyzzz85a5", "0f742231b10e8888abcd99yyyzzz85a5"
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets that the SDK leaves to the collector


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(tmp_path_factory.mktemp("slack")) as made:
        made.plane.notifier.use(HERE)
        values = {"BOT": BOT, "APP": APP, "WRONG": "xapp-wrong", "SIGNING": SIGNING, "OTHER": OTHER}
        for name, value in values.items():
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
            functools.partial(slack_answers.slack_channels, api.plane),
            functools.partial(slack_answers.pressed_in_slack, api.plane),
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


def by_url(slack: SlackDouble, **more: object) -> Object:
    """Return a channel whose buttons come to the control plane's own address."""
    channel = {key: value for key, value in bot(slack).items() if key != "app_token"}
    return {**channel, "signing_secret": "{{.secret.SIGNING}}", **more}


def posted(api: Api, payload: Object, secret: str = SIGNING, at: float | None = None) -> httpx.Response:
    body, headers = SlackDouble.signed(payload, secret, at)
    return api.raw("POST", "/answers/slack", content=body, headers=headers)


def asked(api: Api, slack: SlackDouble, channel: Object) -> tuple[Object, str]:
    """Return a request and the time stamp of its message."""
    told_of(api, channel, "approval_waiting")
    approval = ask(api)
    send(api)
    return approval, list(slack.messages)[-1]


def test_a_button_comes_back_to_an_address_signed_and_counts_once(api: Api, slack: SlackDouble) -> None:
    """signing_secret."""
    approval, ts = asked(api, slack, by_url(slack))
    before = slack.messages[ts]
    stranger = posted(api, slack.payload(ts, "approve", "U0STRANGER"))
    assert (stranger.status_code, stranger.content) == (200, b"")
    assert slack.ephemeral[-1]["user"] == "U0STRANGER" and slack.messages[ts] == before
    assert posted(api, slack.payload(ts, "open", "U0ANN")).status_code == 200  # the link, which Slack tells too
    press = slack.payload(ts, "approve", "U0ANN")
    at = time.time()  # said once: two requests of one body in one second are one request, and the second is refused
    assert posted(api, press, at=at).status_code == 200
    assert slack.messages[ts]["text"] == "shell: approved by Ann"
    (signal,) = signals(api, approval)
    assert (signal["decision"], signal["approver"]["email"]) == ("approved", ANN)
    assert posted(api, press, at=at - 1).status_code == 200  # pressed again: only a word to the person
    assert len(signals(api, approval)) == 1 and "pending" not in status(api, approval)["status"]
    assert len(slack.ephemeral) == 2


def test_a_request_that_is_not_signed_now_by_the_app_answers_nothing(api: Api, slack: SlackDouble) -> None:
    approval, ts = asked(api, slack, by_url(slack))
    press = slack.payload(ts, "approve", "U0ANN")
    for answer in (
        posted(api, press, OTHER),
        posted(api, press, at=time.time() - 310),
        posted(api, press, at=time.time() + 310),
        api.raw("POST", "/answers/slack", content=SlackDouble.signed(press, SIGNING)[0]),
        api.raw("POST", "/answers/slack", content=b"", headers={"X-Slack-Request-Timestamp": "soon"}),
    ):
        assert answer.status_code == 401, answer.text
    body, headers = SlackDouble.signed(press, SIGNING)
    changed = body.replace(b"U0ANN", b"U0EVE")
    assert changed != body
    assert api.raw("POST", "/answers/slack", content=changed, headers=headers).status_code == 401
    nothing = SlackDouble.signed({}, SIGNING)
    assert api.raw("POST", "/answers/slack", content=nothing[0], headers=nothing[1]).status_code == 200
    assert status(api, approval)["status"] == "pending" and signals(api, approval) == []


def test_a_request_that_was_seen_on_its_way_cannot_be_sent_again(api: Api, slack: SlackDouble) -> None:
    _, ts = asked(api, slack, by_url(slack))
    body, headers = SlackDouble.signed(slack.payload(ts, "approve", "U0STRANGER"), SIGNING)
    again = [api.raw("POST", "/answers/slack", content=body, headers=headers) for _ in range(3)]
    assert [each.status_code for each in again] == [200, 409, 409]
    assert len(slack.ephemeral) == 1


def test_an_app_answers_by_its_own_messages_only(api: Api, slack: SlackDouble) -> None:
    """Another definition's app signs well, and has seen the token of a message that is not its own."""
    told_of(api, by_url(slack, signing_secret="{{.secret.OTHER}}"), "run_failed")
    approval, ts = asked(api, slack, by_url(slack))
    assert posted(api, slack.payload(ts, "approve", "U0ANN"), OTHER).status_code == 401
    assert status(api, approval)["status"] == "pending"


def test_the_example_of_slacks_documentation_is_proven() -> None:
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    headers = {"x-slack-signature": signature, "x-slack-request-timestamp": "1531420618"}
    proof = proofs.complete({"preset": "slack"}, "json")
    assert proofs.prove(proof, [SIGNING], body, headers, 1531420618).timed
    with pytest.raises(proofs.NotProven):
        proofs.prove(proof, [SIGNING], body, headers, 1531420618 + 301)


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
            functools.partial(slack_answers.slack_channels, api.plane),
            functools.partial(slack_answers.pressed_in_slack, api.plane),
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
        changed = api.plane.stores.notifications.update(made, {"channel": bot(slack)})
        await sockets.look()
        await asyncio.to_thread(slack.wait, lambda: slack.connections == 1)
        api.plane.stores.notifications.update(changed, {"enabled": False})
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
        (
            {"bot_token": "{{.secret.BOT}}", "conversation": CONVERSATION, "signing_secret": "{{.secret.SIGNING}}"},
            "need both",
        ),
        (
            {
                **{"bot_token": "{{.secret.BOT}}", "conversation": CONVERSATION, "persons": {"U1": ANN}},
                **{"signing_secret": "{{.secret.SIGNING}}", "app_token": "{{.secret.APP}}"},
            },
            "in one way",
        ),
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
