"""People are told what they asked for, by channels that are real servers on loopback."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email
import email.policy
import hashlib
import hmac
import ipaddress
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.server.notify import mail, retries
from kubiya_worker.server.notify.channels import TYPES
from kubiya_worker.server.notify.settings import NotifySettings
from tests.support.api import Api, Object
from tests.support.certificates import Certificates
from tests.support.receiver import Got, Receiver
from tests.support.stack import free_port

PAGE = "https://cp.example.org"
KEY = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
HERE = NotifySettings((ipaddress.ip_network("127.0.0.0/8"),), PAGE)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(tmp_path_factory.mktemp("notifications")) as made:
        made.plane.notifier.use(HERE)
        for name, value in {"HOOK": f"whsec_{KEY}", "NTFY": "tk_s3cret", "MAIL": "p4ss-word"}.items():
            made.call("PUT", f"/secrets/{name}", {"value": value})
        yield made


@pytest.fixture(autouse=True)
def no_others(api: Api) -> Iterator[None]:
    """Each test has its own notifications alone."""
    yield
    for one in api.call("GET", "/notifications"):
        api.call("DELETE", f"/notifications/{one['id']}")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def webhook(receiver: Receiver) -> Object:
    return {"type": "webhook", "url": f"{receiver.url}/in", "secret": "{{.secret.HOOK}}"}


def told_of(api: Api, channel: Object, *events: str, **fields: Any) -> Object:
    body = {"name": f"n-{uuid.uuid4().hex[:8]}", "channel": channel, "events": list(events) or ["run_failed"], **fields}
    made: Object = api.call("POST", "/notifications", body, 201)
    return made


def send(api: Api) -> None:
    """Send what is due now."""

    async def once() -> None:
        api.plane.notifier._start_due()
        await asyncio.gather(*api.plane.notifier._tasks.values())

    api.run(once())


def make_due(api: Api) -> None:
    """Let the time of all that waits have come."""
    with api.plane.database.transaction():
        api.plane.database.connection.exec_driver_sql("update notification_deliveries set due_at = 0")


def fail(api: Api, why: str = "The disk is full", **fields: Any) -> str:
    execution = api.execute(**fields)
    api.call("PATCH", f"/executions/{execution}", {"status": "failed", "error_message": why})
    return execution


def ask(api: Api, execution: str = "", **fields: Any) -> Object:
    body = {"execution_id": execution or api.execute(), "tool_name": "shell", "tool_args": {"command": "df"}, **fields}
    made: Object = api.call("POST", "/approvals", body, 201)
    return made


def deliveries(api: Api, made: Object) -> list[Object]:
    found: list[Object] = api.call("GET", f"/notifications/{made['id']}/deliveries")
    return found


# -- channels


def signed(got: Got) -> bool:
    """Return whether a request is signed as https://www.standardwebhooks.com says."""
    text = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    digest = hmac.new(base64.b64decode(KEY), text, hashlib.sha256).digest()
    return got.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


def test_a_webhook_is_signed_and_has_the_same_id_at_each_try(api: Api, receiver: Receiver) -> None:
    """The channel's type, url and secret; what people are told of a run."""
    made = told_of(api, webhook(receiver))
    execution = fail(api)
    receiver.answers += [503, 200]
    send(api)
    make_due(api)
    send(api)
    first, second = receiver.got
    assert signed(first) and signed(second)
    assert first.path == "/in" and first.headers["webhook-id"] == second.headers["webhook-id"]
    assert abs(int(second.headers["webhook-timestamp"]) - time.time()) < 60
    told = second.json
    assert told["type"] == "run_failed" and told["data"]["execution_id"] == execution
    assert told["data"]["page"] == f"{PAGE}/#/executions/{execution}" and "The disk is full" in told["data"]["text"]
    (delivery,) = deliveries(api, made)
    assert (delivery["state"], delivery["attempts"], delivery["id"]) == ("sent", 2, first.headers["webhook-id"])
    send(api)
    assert len(receiver.got) == 2


def test_a_message_goes_to_a_topic_of_ntfy(api: Api, receiver: Receiver) -> None:
    channel = {"type": "ntfy", "url": receiver.url, "topic": "on-call", "token": "{{.secret.NTFY}}"}
    told_of(api, channel, "approval_waiting")
    approval = ask(api, risk_level="critical")
    send(api)
    (got,) = receiver.got
    assert got.path == "/" and got.headers["authorization"] == "Bearer tk_s3cret"
    assert got.json["topic"] == "on-call" and got.json["priority"] == 5
    assert got.json["title"] == "ops waits for an approval of shell" and '"command": "df"' in got.json["message"]
    assert got.json["click"] == f"{PAGE}/#/executions/{approval['execution_id']}"


class Mailbox:
    """A real SMTP server that wants TLS and a password; `mails` are (recipients, message)."""

    def __init__(self, certificates: Certificates, *, tls: str) -> None:
        from aiosmtpd.controller import Controller
        from aiosmtpd.smtp import AuthResult

        self.mails: list[tuple[list[str], Any]] = []
        self.refuse: list[str] = []
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificates.server, certificates.server.with_suffix(".key"))
        mailbox = self

        class Handler:
            async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
                if mailbox.refuse:
                    return mailbox.refuse.pop(0)
                message = email.message_from_bytes(envelope.content, policy=email.policy.default)
                mailbox.mails.append((envelope.rcpt_tos, message))
                return "250 OK"

        def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
            return AuthResult(success=(data.login, data.password) == (b"kubiya", b"p4ss-word"))

        wants: Object = {"tls_context": context, "require_starttls": True} if tls == mail.STARTTLS else {}
        if tls != mail.NONE:
            wants |= {"authenticator": check, "auth_required": True, "auth_require_tls": tls == mail.STARTTLS}
        over = context if tls == mail.TLS else None
        self.port = free_port()
        self._controller = Controller(Handler(), hostname="127.0.0.1", port=self.port, ssl_context=over, **wants)
        self._controller.start()

    def close(self) -> None:
        self._controller.stop()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("ca"))


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")  # it has TLS from the start
@pytest.mark.parametrize("tls", mail.MODES)
def test_a_mail_is_sent_by_tls_with_the_same_message_id(
    api: Api, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, tls: str
) -> None:
    """server, tls, username, password, sender, to."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
    with contextlib.closing(Mailbox(certificates, tls=tls)) as mailbox:
        who = {} if tls == "none" else {"username": "kubiya", "password": "{{.secret.MAIL}}"}
        channel = {
            **{"type": "email", "server": f"127.0.0.1:{mailbox.port}", "tls": tls, "sender": "kubiya@example.org"},
            **{"to": ["Ann <ann@example.org>", "bob@example.org"], **who},
        }
        made = told_of(api, channel, "question_waiting")
        question: Object = {"tool_args": {"question": "Which\r\nBcc: x@example.org disk?"}}
        approval = ask(api, tool_name="ask_person", enforcement_context={"question": True}, **question)
        mailbox.refuse.append("451 Later")
        send(api)
        assert deliveries(api, made)[0]["error"] == "127.0.0.1 answers 451"
        make_due(api)
        send(api)
        ((recipients, message),) = mailbox.mails
        assert recipients == ["ann@example.org", "bob@example.org"] and message["bcc"] is None
        assert message["subject"] == "[Kubiya] ops has a question" and message["from"] == "kubiya@example.org"
        assert message["message-id"] == f"<{deliveries(api, made)[0]['id']}@example.org>"
        body = message.get_content()
        assert "Bcc: x@example.org disk?" in body and f"{PAGE}/#/executions/{approval['execution_id']}" in body


def test_a_mail_server_without_tls_or_with_a_strange_certificate_gets_no_password(
    api: Api, certificates: Certificates
) -> None:
    channel = {"type": "email", "sender": "k@example.org", "to": ["ann@example.org"]}
    channel |= {"username": "kubiya", "password": "{{.secret.MAIL}}"}
    for tls, why in (("none", "does not offer"), ("starttls", "TLS failed")):
        with contextlib.closing(Mailbox(certificates, tls=tls)) as mailbox:
            made = told_of(api, {**channel, "server": f"127.0.0.1:{mailbox.port}"})
            told = api.call("POST", f"/notifications/{made['id']}/test", {})
            assert told["state"] == "dead" and why in told["error"] and not mailbox.mails


# -- who is told of what


def test_what_is_given_is_stored_and_shown(api: Api, receiver: Receiver) -> None:
    made = told_of(api, webhook(receiver), "run_failed", description="At night")
    changed = api.call("PATCH", f"/notifications/{made['id']}", {"name": "renamed", "events": ["job_failed"]})
    assert (changed["name"], changed["description"], changed["events"]) == ("renamed", "At night", ["job_failed"])
    (listed,) = api.call("GET", "/notifications")
    assert listed["name"] == "renamed" and listed["deliveries"]["waiting"] == 0
    assert "whsec_" not in str(listed) and "tk_" not in str(listed)


def test_only_the_events_of_a_definition_are_told_and_a_jobs_run_as_both(api: Api, receiver: Receiver) -> None:
    runs, jobs = told_of(api, webhook(receiver), "run_failed"), told_of(api, webhook(receiver), "job_failed")
    both = told_of(api, webhook(receiver), "run_failed", "job_failed", "approval_waiting")
    job = {"name": "nightly", "entity_type": "agent", "entity_id": "ops", "trigger_type": "manual"}
    key = api.call("POST", "/jobs", {**job, "prompt_template": "Look."})["id"]
    of_job = api.call("POST", f"/jobs/{key}/trigger", {})["execution_id"]
    api.call("PATCH", f"/executions/{of_job}", {"status": "failed", "error_message": "no"})
    fail(api)
    ended = api.execute()
    api.call("PATCH", f"/executions/{ended}", {"status": "completed"})
    ask(api)
    said = {one["id"]: sorted(d["event"] for d in deliveries(api, one)) for one in (runs, jobs, both)}
    assert said[runs["id"]] == ["run_failed", "run_failed"]
    assert said[jobs["id"]] == ["job_failed"]
    assert said[both["id"]] == ["approval_waiting", "job_failed", "run_failed"]
    assert any(d["title"] == "The job nightly failed" for d in deliveries(api, both))


def test_filters_leave_the_agents_teams_and_queues_that_they_name(api: Api, receiver: Receiver) -> None:
    other, queue = api.agent(), f"q{uuid.uuid4().hex[:8]}"
    api.call("POST", "/environments/default/worker-queues", {"name": queue})
    limits: list[Object] = [{}, {"agents": ["ops"]}, {"agents": [other["id"]]}, {"teams": ["triage"]}]
    limits += [{"queues": [queue]}, {"agents": ["ops"], "teams": ["triage"]}, {"agents": ["ops"], "queues": [queue]}]
    made = [told_of(api, webhook(receiver), filters=limit) for limit in limits]
    fail(api)
    fail(api, agent=other["id"], worker_queue_id=queue)
    team = api.call("POST", "/teams/triage/execute", {"prompt": "x", "worker_queue_id": "default"})["execution_id"]
    api.call("PATCH", f"/executions/{team}", {"status": "failed"})
    assert [len(deliveries(api, one)) for one in made] == [3, 1, 1, 1, 1, 2, 0]


def test_a_notification_that_is_not_enabled_tells_nothing(api: Api, receiver: Receiver) -> None:
    made = told_of(api, webhook(receiver), enabled=False)
    fail(api)
    assert deliveries(api, made) == []


def test_the_same_is_told_once(api: Api, receiver: Receiver) -> None:
    made = told_of(api, webhook(receiver), "approval_waiting", "run_failed")
    asked = ask(api, id=str(uuid.uuid4()))
    again = {"id": asked["id"], "execution_id": asked["execution_id"], "tool_name": "shell"}
    api.call("POST", "/approvals", again, 200)
    for _ in range(2):
        api.call("PATCH", f"/executions/{asked['execution_id']}", {"status": "failed"})
    assert sorted(d["event"] for d in deliveries(api, made)) == ["approval_waiting", "run_failed"]


def test_what_a_rule_approves_by_itself_is_told_to_nobody(api: Api, receiver: Receiver) -> None:
    made = told_of(api, webhook(receiver), "approval_waiting")
    body = {"name": "auto", "scope_type": "all", "auto_approve_roles": ["admin"]}
    rule = api.call("POST", "/approval-rules", body, 201)["id"]
    assert ask(api, rule_id=rule)["status"] == "approved"
    assert deliveries(api, made) == []


def test_a_request_that_was_answered_is_not_told_any_more(api: Api, receiver: Receiver) -> None:
    made = told_of(api, webhook(receiver), "approval_waiting")
    approval = ask(api)
    receiver.answers.append(500)
    send(api)
    api.call("POST", f"/approvals/{approval['id']}/approve", {})
    make_due(api)
    send(api)
    assert len(receiver.got) == 1 and deliveries(api, made)[0]["state"] == "dropped"


# -- what goes wrong


@pytest.mark.parametrize(("status", "state"), [(400, "dead"), (404, "waiting"), (429, "waiting"), (500, "waiting")])
def test_what_is_wrong_itself_is_not_sent_again(api: Api, receiver: Receiver, status: int, state: str) -> None:
    made = told_of(api, webhook(receiver))
    fail(api)
    receiver.answers.append((status, {"retry-after": "120"}))
    began = time.time()
    send(api)
    (delivery,) = deliveries(api, made)
    assert delivery["state"] == state and delivery["error"] == f"127.0.0.1 answers {status}"
    due = api.plane.stores.notification_deliveries.due_at(())
    assert state == "dead" or (due is not None and began + 110 < due < time.time() + 130)


def test_after_the_last_try_a_delivery_is_dead_until_it_is_retried(api: Api, receiver: Receiver) -> None:
    made = told_of(api, webhook(receiver))
    fail(api)
    receiver.answers += [500] * retries.ATTEMPTS
    for _ in range(retries.ATTEMPTS + 1):
        send(api)
        make_due(api)
    assert len(receiver.got) == retries.ATTEMPTS and deliveries(api, made)[0]["state"] == "dead"
    assert api.call("GET", "/notifications")[0]["deliveries"] == {
        **{"waiting": 0, "sent": 0, "dead": 1, "dropped": 0, "last_error": "127.0.0.1 answers 500"},
    }
    assert api.call("POST", f"/notifications/{made['id']}/retry", {}) == {"retried": 1}
    send(api)
    assert deliveries(api, made)[0]["state"] == "sent"


def test_a_redirect_is_not_followed(api: Api, receiver: Receiver) -> None:
    made = told_of(api, webhook(receiver))
    receiver.answers.append((302, {"location": f"{receiver.url}/other"}))
    told = api.call("POST", f"/notifications/{made['id']}/test", {})
    assert told["state"] == "dead" and "redirects" in told["error"] and len(receiver.got) == 1


def test_a_channel_that_is_slow_holds_up_no_other(api: Api, receiver: Receiver) -> None:
    let_go = threading.Event()

    def slow(_: Got) -> int:
        let_go.wait(30)
        return 200

    with Receiver() as other:
        held, quick = told_of(api, webhook(receiver)), told_of(api, webhook(other))
        receiver.answers.append(slow)
        fail(api)

        async def until_the_other_has_it() -> None:
            work = asyncio.create_task(api.plane.notifier.run())
            await asyncio.to_thread(other.wait, 1)
            await asyncio.to_thread(receiver.wait, 1)
            while deliveries_of(api, quick) != ["sent"]:  # the answer is on its way
                await asyncio.sleep(0.01)
            assert deliveries_of(api, held) == ["waiting"]
            let_go.set()
            while deliveries_of(api, held) != ["sent"]:
                await asyncio.sleep(0.01)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

        api.run(until_the_other_has_it())


def deliveries_of(api: Api, made: Object) -> list[str]:
    return [delivery.state for delivery in api.plane.stores.notification_deliveries.of(made["id"], 10)]


def test_only_networks_that_the_operator_named_are_reached(api: Api, receiver: Receiver) -> None:
    made = told_of(api, webhook(receiver))
    mailed = {"type": "email", "server": "localhost:2525", "sender": "k@example.org", "to": ["a@example.org"]}
    to_local = told_of(api, mailed)
    api.plane.notifier.use(NotifySettings(url=PAGE))
    try:
        for one in (made, to_local):
            told = api.call("POST", f"/notifications/{one['id']}/test", {})
            assert told["state"] == "dead" and "KUBIYA_NOTIFY_NETWORKS" in told["error"]
    finally:
        api.plane.notifier.use(HERE)
    assert not receiver.got


def test_no_secret_is_shown_logged_or_recorded(
    api: Api, receiver: Receiver, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    api.call("PUT", "/secrets/WHOLE_URL", {"value": f"{receiver.url}/hooks/v3ry-hidden"})
    made = told_of(api, {"type": "webhook", "url": "{{.secret.WHOLE_URL}}", "secret": "{{.secret.HOOK}}"})
    receiver.answers += [500, 200]
    api.call("POST", f"/notifications/{made['id']}/test", {})
    assert api.call("POST", f"/notifications/{made['id']}/test", {})["state"] == "sent"
    assert receiver.got[0].path == "/hooks/v3ry-hidden"
    seen = [caplog.text, str(deliveries(api, made)), str(api.call("GET", "/audit?limit=200"))]
    seen.append(str(api.call("GET", f"/notifications/{made['id']}")))
    for text in seen:
        assert "v3ry-hidden" not in text and KEY not in text
    in_use = api.call("DELETE", "/secrets/WHOLE_URL", status=409)["detail"]
    assert made["name"] in in_use
    actions = [record["action"] for record in api.call("GET", "/audit?limit=20")]
    assert "notification.test" in actions and "notification.create" in actions


# -- what is refused


def channel_of(kind: str, **more: Any) -> Object:
    fields: dict[str, Object] = {
        "webhook": {"url": "https://example.org/in", "secret": "{{.secret.HOOK}}"},
        "ntfy": {"url": "https://ntfy.example.org", "topic": "t"},
        "email": {"server": "mail.example.org", "sender": "k@example.org", "to": ["a@example.org"]},
        "mattermost": {"url": "{{.secret.HOOK}}"},
        "teams": {"url": "{{.secret.HOOK}}"},
        "slack": {"url": "{{.secret.HOOK}}"},
        "apprise": {"url": "{{.secret.HOOK}}"},
    }
    return {"type": kind, **fields[kind], **more}


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"channel": channel_of("webhook", topic="t")}, "takes no topic"),
        ({"channel": {"type": "webhook", "url": "https://example.org"}}, "needs secret"),
        ({"channel": {"type": "pager"}}, "type is one of"),
        ({"channel": channel_of("webhook", secret="whsec_abc")}, "pattern"),
        ({"channel": channel_of("webhook", secret="{{.secret.NONE}}")}, "kubiya secrets set NONE"),
        ({"channel": channel_of("webhook", url="ftp://example.org")}, "http"),
        ({"channel": channel_of("webhook", url="https://u:p4ssw0rd@example.org")}, "password"),
        ({"channel": channel_of("ntfy", topic="a/b")}, "pattern"),
        ({"channel": channel_of("email", server="a b")}, "HOST:PORT"),
        ({"channel": channel_of("email", tls="none", username="u", password="{{.secret.MAIL}}")}, "without TLS"),
        ({"channel": channel_of("email", username="u")}, "belong together"),
        ({"channel": channel_of("email", to=["nobody"])}, "e-mail"),
        ({"channel": channel_of("email", to=[])}, "at least 1"),
        ({"channel": channel_of("email", person="a@example.org", to=["a@example.org", "b@example.org"])}, "only"),
        ({"channel": channel_of("teams", url="https://example.org/x")}, "credential"),
        ({"channel": channel_of("apprise", url="https://example.org/x")}, "credential"),
        ({"channel": channel_of("apprise", person="a@example.org")}, "takes no person"),
        ({"channel": channel_of("mattermost", person="a@example.org")}, "takes no person"),
        ({"events": ["everything"]}, "is one of"),
        ({"events": []}, "at least 1"),
        ({"filters": {"agents": ["nobody"]}}, "There is no agent 'nobody'"),
        ({"filters": {"people": ["ann"]}}, "people"),
        ({"quiet_hours": {}}, "quiet_hours"),
        ({"silence": {}}, "silence"),
    ],
)
def test_what_has_no_effect_is_refused_with_its_reason(api: Api, fields: Object, word: str) -> None:
    body = {"name": "n", "channel": channel_of("webhook"), "events": ["run_failed"], **fields}
    assert word in str(api.call("POST", "/notifications", body, 422)["detail"])
    document = {"kind": "Notification", "name": "n", "spec": {k: v for k, v in body.items() if k != "name"}}
    assert word in str(api.call("POST", "/definitions/apply", {"documents": [document]}, 422)["detail"])


@pytest.mark.parametrize("kind", TYPES)
def test_each_type_takes_what_its_table_says(api: Api, kind: str) -> None:
    api.call("POST", "/notifications", {"name": kind, "channel": channel_of(kind), "events": ["run_failed"]}, 201)
    for name in TYPES[kind].needs:
        less = {k: v for k, v in channel_of(kind).items() if k != name}
        body = {"name": "less", "channel": less, "events": ["run_failed"]}
        assert f"needs {name}" in str(api.call("POST", "/notifications", body, 422)["detail"])


# -- when it is tried again


def test_delays_grow_and_a_channels_wish_counts_up_to_an_hour() -> None:
    assert [retries.delay(n, 0.5) for n in range(1, retries.ATTEMPTS)] == list(retries.DELAYS)
    assert retries.delay(1, 0.0) == pytest.approx(4.5) and retries.delay(1, 1.0) == pytest.approx(5.5)
    assert retries.delay(1, 0.5, 60) == 60 and retries.delay(1, 0.5, 1e9) == 3600 and retries.delay(9, 0.5, 1) == 14_400
    assert 15 * 3600 < sum(retries.DELAYS) < 17 * 3600
