"""The channel `webhook`: JSON, signed as https://www.standardwebhooks.com says, with the same id at each try."""

from __future__ import annotations

import base64
import hmac

from kubiya_worker.server.notify.letter import Letter, body_of
from kubiya_worker.server.notify.outgoing import Outgoing
from kubiya_worker.server.proof import standard_key


async def send(letter: Letter, out: Outgoing) -> None:
    data = letter.data
    content = {
        "type": data["event"],
        "timestamp": data["at"],
        "data": {
            "notification": letter.notification,
            **{name: data[name] for name in ("severity", "title", "text")},
            "page": letter.link,
            **({"answer": letter.answer} if letter.answer else {}),
            **data["facts"],
        },
    }
    body, seconds = body_of(content), str(int(letter.at))
    headers = {
        "content-type": "application/json",
        "webhook-id": letter.id,
        "webhook-timestamp": seconds,
        "webhook-signature": signature(str(letter.channel["secret"]), letter.id, seconds, body),
    }
    await out.post(str(letter.channel["url"]), body, headers)


def signature(secret: str, number: str, seconds: str, body: bytes) -> str:
    digest = hmac.new(standard_key(secret), f"{number}.{seconds}.".encode() + body, "sha256").digest()
    return f"v1,{base64.b64encode(digest).decode()}"
