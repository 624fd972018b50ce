"""The channel `ntfy`: a message to a topic of https://ntfy.sh or of an own server."""

from __future__ import annotations

from typing import Any, Final

from kubiya_worker.server.notify.events import CRITICAL, INFO, WARNING
from kubiya_worker.server.notify.letter import Letter, body_of
from kubiya_worker.server.notify.outgoing import Outgoing

PRIORITIES: Final = {INFO: 3, WARNING: 4, CRITICAL: 5}


async def send(letter: Letter, out: Outgoing) -> None:
    actions: list[dict[str, Any]] = [{"action": "view", "label": "Open", "url": letter.answer or letter.link}]
    if letter.answer and not letter.question:
        actions += [_button("Approve", letter.answer), _button("Reject", letter.answer)]
    content = {
        "topic": letter.channel["topic"],
        "title": letter.data["title"],
        "message": letter.data["text"],
        "priority": PRIORITIES[letter.data["severity"]],
        "click": letter.link,
        "actions": actions,
    }
    token = letter.channel.get("token")
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
    await out.post(str(letter.channel["url"]).rstrip("/") + "/", body_of(content), headers)


def _button(label: str, url: str) -> dict[str, Any]:
    """Return a button that the phone itself presses, by a request of its own."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    about = {"url": url, "method": "POST", "headers": form, "body": f"decision={label.lower()}"}
    return {"action": "http", "label": label, **about, "clear": True}
