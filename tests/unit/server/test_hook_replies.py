"""The answer of a hook's run goes back to where its alert came from, until the receiver has it."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from kubiya_worker.server import hook_background
from kubiya_worker.server.store.replies import GIVEN_UP, SENT, WAITING
from tests.support.api import Api, Object
from tests.unit.server.hook_senders import SECRET, alert, bearer, deliveries, hook, sample, sent

TOKEN = "{{.secret.HOOK}}"
HOME = ["127.0.0.0/8"]


class Receiver(BaseHTTPRequestHandler):
    """A server that notes what it gets, and answers with the next status."""

    got: ClassVar[list[Any]] = []
    answers: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(self.answers.pop(0) if self.answers else 200)
        self.send_header("Content-Length", "0")
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def receiver() -> Iterator[str]:
    Receiver.got, Receiver.answers = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def ended(api: Api, made: Object, body: Object, headers: Any = None, **fields: Any) -> str:
    """Run an alert to its end, and return the execution."""
    execution = str(sent(api, made, body, headers)["execution_id"])
    told = {"status": "completed", "response": "It was debug.log.", **fields}
    api.call("PATCH", f"/executions/{execution}", told)
    return execution


def send_due(api: Api, at: float | None = None) -> None:
    for one in api.plane.stores.replies.due(time.time() if at is None else at):
        asyncio.run(hook_background.send(api.plane, one))


def state(api: Api, execution: str) -> Object:
    found = api.plane.stores.replies.of(execution)
    assert found is not None
    return found


def test_a_webhook_gets_the_answer_signed_and_with_its_headers(api: Api, receiver: str) -> None:
    reply = {
        **{"kind": "webhook", "url": f"{receiver}/answer", "private_networks": HOME, "secret": TOKEN},
        "headers": {"X-Team": "infra", "X-Key": TOKEN},
    }
    execution = ended(api, hook(api, reply=reply), alert(title="Disk"))
    send_due(api)
    ((path, headers, body),) = Receiver.got
    told = json.loads(body)
    assert path == "/answer" and (headers["x-team"], headers["x-key"]) == ("infra", SECRET)
    assert (told["answer"], told["status"], told["execution_id"]) == ("It was debug.log.", "completed", execution)
    assert told["alert"]["title"] == "Disk"
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    made = base64.b64encode(hmac.new(SECRET.encode(), text, "sha256").digest()).decode()
    assert headers["webhook-signature"] == f"v1,{made}" and headers["webhook-id"] == execution
    assert state(api, execution) == {"state": SENT, "tries": 1, "status": 200}
    send_due(api)
    assert len(Receiver.got) == 1


def test_a_template_is_the_body_with_every_value_as_json(api: Api, receiver: str) -> None:
    template = '{"text": {{answer}}, "of": {{alert.title}}, "none": {{alert.nobody}}}'
    reply = {"kind": "webhook", "url": receiver, "private_networks": HOME, "template": template}
    ended(api, hook(api, reply=reply), alert(title="a"), response='say "x"\n')
    send_due(api)
    assert json.loads(Receiver.got[0][2]) == {"text": 'say "x"', "of": "a", "none": None}


def test_a_comment_goes_to_the_issue_of_the_alert(api: Api, receiver: str) -> None:
    reply: Object = {"kind": "github", "url": f"{receiver}/api/v1", "token": TOKEN, "private_networks": HOME}
    made = hook(
        api, "gitea", proof={"kind": "bearer", "secret": TOKEN}, reply={**reply, "template": "Found: {{answer}}"}
    )
    ended(api, made, sample("gitea"), {**bearer(), "X-Gitea-Event": "issues"})
    send_due(api)
    ((path, headers, body),) = Receiver.got
    assert path == "/api/v1/repos/acme/infra/issues/12/comments"
    assert headers["authorization"] == f"token {SECRET}"
    assert json.loads(body) == {"body": "Found: It was debug.log."}


def test_a_delivery_cannot_lead_the_token_to_another_path(api: Api, receiver: str) -> None:
    reply = {"kind": "github", "url": receiver, "token": TOKEN, "private_networks": HOME}
    made = hook(api, "gitea", proof={"kind": "bearer", "secret": TOKEN}, reply=reply)
    for name in ("../user", "a/b/../..", "a/b?x"):
        body = sample("gitea", repository={"full_name": name})
        execution = ended(api, made, body, {**bearer(), "X-Gitea-Event": "issues"})
        send_due(api)
        assert state(api, execution)["state"] == GIVEN_UP
    assert Receiver.got == []


def test_a_grafana_gets_an_annotation_from_the_beginning_to_now(api: Api, receiver: str) -> None:
    reply = {"kind": "grafana", "url": receiver, "token": TOKEN, "private_networks": HOME}
    ended(api, hook(api, "grafana", reply=reply), sample("grafana"))
    send_due(api)
    ((path, headers, body),) = Receiver.got
    told = json.loads(body)
    assert path == "/api/annotations" and headers["authorization"] == f"Bearer {SECRET}"
    assert told["text"] == "It was debug.log." and told["time"] == 1_795_932_723_511 <= told["timeEnd"]


def test_a_reply_is_tried_until_the_receiver_has_it(api: Api, receiver: str) -> None:
    reply = {"kind": "webhook", "url": receiver, "private_networks": HOME, "secret": TOKEN}
    execution = ended(api, hook(api, reply=reply), alert())
    Receiver.answers = [503, 429, 200]
    now = time.time()
    for number, tries in ((0, 1), (60, 2), (600, 3)):
        send_due(api, now + number)
        assert state(api, execution)["tries"] == tries
    assert state(api, execution)["state"] == SENT
    assert {headers["webhook-id"] for _, headers, _ in Receiver.got} == {execution}


@pytest.mark.parametrize("status", [301, 400, 404])
def test_a_refusal_of_the_receiver_ends_the_tries_and_is_shown(api: Api, receiver: str, status: int) -> None:
    made = hook(api, reply={"kind": "webhook", "url": receiver, "private_networks": HOME})
    execution = ended(api, made, alert())
    Receiver.answers = [status]
    send_due(api)
    assert state(api, execution)["state"] == GIVEN_UP and len(Receiver.got) == 1
    assert deliveries(api, made)[0]["reply"]["error"] == f"The receiver answered {status}"


def test_addresses_of_private_networks_are_not_reached_unless_named(api: Api, receiver: str) -> None:
    for url in (receiver, receiver.replace("127.0.0.1", "localhost"), "http://169.254.169.254/latest"):
        execution = ended(api, hook(api, reply={"kind": "webhook", "url": url}), alert())
        send_due(api)
        assert state(api, execution)["state"] == GIVEN_UP
    assert Receiver.got == []


def test_a_secret_that_is_missing_now_is_waited_for(api: Api, receiver: str) -> None:
    reply = {"kind": "webhook", "url": receiver, "private_networks": HOME, "headers": {"X-Key": "{{.secret.LATER}}"}}
    execution = ended(api, hook(api, reply=reply), alert())
    send_due(api)
    assert state(api, execution)["state"] == WAITING and "LATER" in state(api, execution)["error"]


def test_a_failed_run_is_told_with_its_error(api: Api, receiver: str) -> None:
    reply = {"kind": "webhook", "url": receiver, "private_networks": HOME}
    ended(api, hook(api, reply=reply), alert(), status="failed", response=None, error_message="No model")
    send_due(api)
    told = json.loads(Receiver.got[0][2])
    assert (told["status"], told["answer"], told["error"]) == ("failed", "No model", "No model")


def test_a_run_of_nobodys_hook_has_no_reply(api: Api) -> None:
    execution = api.execute()
    api.call("PATCH", f"/executions/{execution}", {"status": "completed", "hook": {"id": hook(api)["id"]}})
    assert api.plane.stores.replies.of(execution) is None
