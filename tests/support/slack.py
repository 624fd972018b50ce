"""A double of Slack, as strict as its documentation: the Web API's methods that are used, and Socket Mode.

It refuses what Slack refuses: a wrong kind of token, a body that is not JSON in UTF-8, a message without `text`, blocks
beyond their limits. Each address of a connection is good once. An envelope that is not acknowledged within 3 s is sent
again, on any connection, and is noted in `late`.
"""

from __future__ import annotations

import http.server
import json
import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

Object = dict[str, Any]
BOT, APP = "xoxb-1-2-bot", "xapp-1-A1-app"
CONVERSATION = "C0123456789"
PATIENCE = 3.0  # seconds for an acknowledgement


class Refusal(Exception):
    """Slack's word for what is wrong."""


class SlackDouble:
    """`with SlackDouble() as slack`: `messages` by their time stamps, `ephemeral`, `acknowledged` and `late`."""

    def __init__(self) -> None:
        self.messages: dict[str, Object] = {}
        self.ephemeral: list[Object] = []
        self.acknowledged: dict[str, float] = {}  # seconds from the envelope to its acknowledgement
        self.late: list[str] = []
        self.errors: list[str] = []  # that the next posts are refused with
        self._change = threading.Condition()
        self._tickets: set[str] = set()
        self._sockets: list[ServerConnection] = []
        self._sent: dict[str, float] = {}
        slack = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                try:
                    answer = {"ok": True, **slack._method(self.path, dict(self.headers), raw)}
                except Refusal as error:
                    answer = {"ok": False, "error": str(error)}
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._web.daemon_threads = True
        self._ws = serve(self._connection, "127.0.0.1", 0, process_request=self._handshake)
        self.url = f"http://127.0.0.1:{self._web.server_address[1]}/api"
        self._threads = [
            threading.Thread(target=self._web.serve_forever, args=(0.05,), daemon=True),
            threading.Thread(target=self._ws.serve_forever, daemon=True),
        ]

    def __enter__(self) -> SlackDouble:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._web.shutdown()
        self._web.server_close()
        self._ws.shutdown()
        for thread in self._threads:
            thread.join()

    # -- the Web API

    def _method(self, path: str, headers: dict[str, str], raw: bytes) -> Object:
        given = {name.lower(): value for name, value in headers.items()}
        if given.get("content-type") != "application/json; charset=utf-8":
            raise Refusal("invalid_post_type")
        method = path.removeprefix("/api/")
        token = given.get("authorization", "").removeprefix("Bearer ")
        if method == "apps.connections.open":
            if token != APP:
                raise Refusal("invalid_auth" if not token.startswith("xoxb-") else "not_allowed_token_type")
            ticket = uuid.uuid4().hex
            with self._change:
                self._tickets.add(ticket)
            return {"url": f"ws://127.0.0.1:{self._ws.socket.getsockname()[1]}/link/?ticket={ticket}&app_id=A1"}
        if token != BOT:
            raise Refusal("invalid_auth" if not token.startswith("xapp-") else "not_allowed_token_type")
        body = json.loads(raw)
        with self._change:
            try:
                return self._chat(method, body)
            finally:
                self._change.notify_all()

    def _chat(self, method: str, body: Object) -> Object:
        if self.errors:
            raise Refusal(self.errors.pop(0))
        if body.get("channel") != CONVERSATION:
            raise Refusal("channel_not_found")
        if not body.get("text"):
            raise Refusal("no_text")
        check_blocks(body.get("blocks") or [])
        if method == "chat.postMessage":
            ts = f"{time.time():.6f}"
            self.messages[ts] = body
            return {"channel": CONVERSATION, "ts": ts, "message": body}
        if method == "chat.update":
            if body.get("ts") not in self.messages:
                raise Refusal("message_not_found")
            self.messages[body["ts"]] = body
            return {"channel": CONVERSATION, "ts": body["ts"], "text": body["text"]}
        if method == "chat.postEphemeral":
            if not body.get("user"):
                raise Refusal("user_not_in_channel")
            self.ephemeral.append(body)
            return {"message_ts": f"{time.time():.6f}"}
        raise Refusal("unknown_method")

    # -- Socket Mode

    def _handshake(self, connection: ServerConnection, request: Any) -> Any:
        ticket = parse_qs(urlsplit(request.path).query).get("ticket", [""])[0]
        with self._change:
            if ticket not in self._tickets:
                return connection.respond(403, "the ticket was used, or is none")
            self._tickets.remove(ticket)
        return None

    def _connection(self, connection: ServerConnection) -> None:
        hello = {"type": "hello", "num_connections": 1, "connection_info": {"app_id": "A1"}, "debug_info": {}}
        connection.send(json.dumps(hello))
        with self._change:
            self._sockets.append(connection)
            self._change.notify_all()
        try:
            for text in connection:
                told = json.loads(text)
                with self._change:
                    envelope = told["envelope_id"]
                    assert envelope in self._sent, "an envelope that nobody sent was acknowledged"
                    self.acknowledged.setdefault(envelope, time.monotonic() - self._sent[envelope])
                    self._change.notify_all()
        except ConnectionClosed:
            pass
        finally:
            with self._change:
                self._sockets.remove(connection)
                self._change.notify_all()

    def press(self, ts: str, action_id: str, user: str) -> None:
        """Press a button of a message, as a person does; return when it was acknowledged."""
        self.envelope("interactive", self.payload(ts, action_id, user))

    def payload(self, ts: str, action_id: str, user: str) -> Object:
        """Return what Slack tells an app of a press."""
        block, element = self.button(ts, action_id)
        action = {"type": "button", "block_id": block, "action_id": action_id, "action_ts": f"{time.time():.6f}"}
        return {
            "type": "block_actions",
            "user": {"id": user, "username": "somebody", "team_id": "T1"},
            "api_app_id": "A1",
            "container": {"type": "message", "message_ts": ts, "channel_id": CONVERSATION, "is_ephemeral": False},
            "trigger_id": "1.2.3",
            "channel": {"id": CONVERSATION, "name": "ops"},
            "message": {"type": "message", "ts": ts, **self.messages[ts]},
            "response_url": "https://hooks.slack.invalid/actions/1",
            "actions": [{**action, "value": element.get("value"), "text": element["text"]}],
        }

    @staticmethod
    def signed(payload: Object, secret: str, at: float | None = None) -> tuple[bytes, dict[str, str]]:
        """Return the body and the headers of a request to an app's Request URL.

        As https://docs.slack.dev/authentication/verifying-requests-from-slack says; slack_sdk signs it.
        """
        from slack_sdk.signature import SignatureVerifier

        body = urlencode({"payload": json.dumps(payload)})
        stamp = str(int(time.time() if at is None else at))
        signature = SignatureVerifier(secret).generate_signature(timestamp=stamp, body=body)
        headers = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": str(signature)}
        return body.encode(), {"Content-Type": "application/x-www-form-urlencoded", **headers}

    def envelope(self, kind: str, payload: Object) -> None:
        envelope = str(uuid.uuid4())
        body = {"envelope_id": envelope, "type": kind, "accepts_response_payload": kind != "events_api"}
        for attempt in range(3):
            connection = self.wait(lambda: self._sockets[-1] if self._sockets else None)
            with self._change:
                self._sent[envelope] = time.monotonic()
            connection.send(json.dumps({**body, "payload": payload, "retry_attempt": attempt}))
            with self._change:
                if self._change.wait_for(lambda: envelope in self.acknowledged, PATIENCE):
                    return
                self.late.append(envelope)
        raise AssertionError("nobody acknowledged the envelope")

    def renew(self) -> None:
        """Ask the client to connect anew, as Slack does every few hours, and end the old connection."""
        old = self.wait(lambda: self._sockets[-1] if self._sockets else None)
        old.send(json.dumps({"type": "disconnect", "reason": "refresh_requested", "debug_info": {}}))
        self.wait(lambda: next((each for each in self._sockets if each is not old), None))
        old.close()

    def button(self, ts: str, action_id: str) -> tuple[str, Object]:
        for block in self.messages[ts].get("blocks", ()):
            for element in block.get("elements", ()):
                if element.get("action_id") == action_id:
                    return block["block_id"], element
        raise AssertionError(f"the message has no button {action_id}")

    def wait(self, found: Callable[[], Any], seconds: float = 30.0) -> Any:
        """Return what is found as soon as there is something."""
        with self._change:
            assert self._change.wait_for(lambda: found(), seconds), "it did not come"
            return found()

    @property
    def connections(self) -> int:
        with self._change:
            return len(self._sockets)


def check_blocks(blocks: list[Object]) -> None:
    """Refuse blocks that https://docs.slack.dev/reference/block-kit/blocks does not allow."""
    seen: set[str] = set()
    if len(blocks) > 50:
        raise Refusal("invalid_blocks")
    for block in blocks:
        kind = block.get("type")
        if kind == "header":
            _check_text(block.get("text"), 150, kinds=("plain_text",))
        elif kind == "section":
            _check_text(block.get("text"), 3_000, kinds=("plain_text", "mrkdwn"))
        elif kind == "actions":
            elements = block.get("elements") or []
            if not 1 <= len(elements) <= 25 or len(block.get("block_id", "")) > 255:
                raise Refusal("invalid_blocks")
            for element in elements:
                _check_button(element)
                if element["action_id"] in seen:
                    raise Refusal("invalid_blocks")
                seen.add(element["action_id"])
        else:
            raise Refusal("invalid_blocks")


def _check_button(element: Object) -> None:
    known = {"type", "text", "action_id", "url", "value", "style", "confirm", "accessibility_label"}
    style, wrong = element.get("style"), element.keys() - known
    if element.get("type") != "button" or wrong or style not in (None, "primary", "danger"):
        raise Refusal("invalid_blocks")
    _check_text(element.get("text"), 75, kinds=("plain_text",))
    lengths = (("action_id", 255), ("value", 2_000), ("url", 3_000))
    if any(len(element.get(name) or "") > most for name, most in lengths) or not element.get("action_id"):
        raise Refusal("invalid_blocks")


def _check_text(text: Any, most: int, kinds: tuple[str, ...]) -> None:
    if not isinstance(text, dict) or text.get("type") not in kinds or not 1 <= len(text.get("text") or "") <= most:
        raise Refusal("invalid_blocks")
    if text.keys() - {"type", "text", *(("emoji",) if text["type"] == "plain_text" else ("verbatim",))}:
        raise Refusal("invalid_blocks")
