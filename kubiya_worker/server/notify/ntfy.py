"""The channel `ntfy`: a message to a topic of https://ntfy.sh or of an own server."""

from __future__ import annotations

from typing import Final

from kubiya_worker.server.notify.events import CRITICAL, INFO, WARNING
from kubiya_worker.server.notify.letter import Letter, body_of
from kubiya_worker.server.notify.outgoing import Outgoing

PRIORITIES: Final = {INFO: 3, WARNING: 4, CRITICAL: 5}


async def send(letter: Letter, out: Outgoing) -> None:
    content = {
        "topic": letter.channel["topic"],
        "title": letter.data["title"],
        "message": letter.data["text"],
        "priority": PRIORITIES[letter.data["severity"]],
        "click": letter.link,
        "actions": [{"action": "view", "label": "Open", "url": letter.link}],
    }
    token = letter.channel.get("token")
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
    await out.post(str(letter.channel["url"]).rstrip("/") + "/", body_of(content), headers)
