"""Deliveries as their senders make them, for tests of hooks."""

from __future__ import annotations

import base64
import copy
import hmac
import json
import time
import uuid
from typing import Any

import httpx

from kubiya_worker.server.hooks.samples import SAMPLES
from tests.support.api import Api, Object

SECRET = "s3cret-of-the-hook"
OLD = "0ld-secret-of-the-hook"


def hook(api: Api, source: str = "json", **fields: Any) -> Object:
    """Make a hook with the secret of `SECRET`, and return it."""
    api.call("PUT", "/secrets/HOOK", {"value": SECRET})
    api.call("PUT", "/secrets/HOOK_OLD", {"value": OLD})
    name = f"h{uuid.uuid4().hex[:9]}"
    body = {"name": name, "source": source, "agent": "ops", "queue": "default", **fields}
    body.setdefault("proof", {"secret": "{{.secret.HOOK}}"})
    made: Object = api.call("POST", "/hooks", body, 201)
    return made


def sample(source: str, **changes: Any) -> Object:
    return {**copy.deepcopy(SAMPLES[source].body), **changes}


def bearer(secret: str = SECRET) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def hex_of(text: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), text, "sha256").hexdigest()


def post(api: Api, made: Object, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    """Send a delivery as it is: bytes, or an object as JSON. Without headers it shows the secret as a bearer."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = bearer() if headers is None else headers
    return api.ask("POST", f"//hooks/{made['name']}", content=raw, headers=given, key=False)


def sent(api: Api, made: Object, body: Any, headers: dict[str, str] | None = None) -> Object:
    """Send a delivery that is taken, and return the answer."""
    answer = post(api, made, body, headers)
    assert answer.status_code == 202, answer.text
    found: Object = answer.json()
    return found


def standard(body: bytes, secret: str = SECRET, number: str = "msg-1", at: float | None = None) -> dict[str, str]:
    stamp = str(int(time.time() if at is None else at))
    made = hmac.new(secret.encode(), f"{number}.{stamp}.".encode() + body, "sha256").digest()
    signature = f"v1,{base64.b64encode(b'another')!r} v1,{base64.b64encode(made).decode()}"
    return {"webhook-id": number, "webhook-timestamp": stamp, "webhook-signature": signature}


def deliveries(api: Api, made: Object, query: str = "") -> list[Object]:
    found: list[Object] = api.call("GET", f"/hooks/{made['name']}/deliveries{query}")
    return found


def alert(**fields: Any) -> Object:
    """Return an alert in our own form, about a thing of its own."""
    return {"group": uuid.uuid4().hex, "title": "Disk full", **fields}
