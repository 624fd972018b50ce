"""The channel `mattermost`: an incoming webhook, with buttons where the definition says who is who.

Mattermost's own server calls back when a button is pressed. The call is not signed: the token in its context, which no
person is shown, proves it.
"""

from __future__ import annotations

from typing import Any, Final

from kubiya_worker.server.notify.events import CRITICAL, INFO, WARNING
from kubiya_worker.server.notify.letter import ANSWERS, Letter, body_of
from kubiya_worker.server.notify.outgoing import Outgoing

CALLBACK: Final = f"{ANSWERS}/mattermost"
COLORS: Final = {INFO: "#2a7de1", WARNING: "#d9822b", CRITICAL: "#c23030"}


async def send(letter: Letter, out: Outgoing) -> None:
    attachment: dict[str, Any] = {
        "fallback": letter.data["title"],
        "color": COLORS[letter.data["severity"]],
        "title": letter.data["title"],
        "title_link": letter.link,
        "text": quoted(letter.data["text"]),
    }
    if letter.token and not letter.question:
        attachment["actions"] = [
            _button(letter, "approve", "Approve", "good"),
            _button(letter, "reject", "Reject", "danger"),
        ]
    content = {"username": "Kubiya", "attachments": [attachment]}
    await out.post(str(letter.channel["url"]), body_of(content), {"content-type": "application/json"})


def quoted(text: str) -> str:
    """Return the text as a block of code: an agent's words mention nobody and are no markup."""
    return "```\n" + text.replace("```", "'''") + "\n```"


def _button(letter: Letter, decision: str, name: str, style: str) -> dict[str, Any]:
    context = {"token": letter.token, "decision": decision}
    integration = {"url": f"{letter.url}{CALLBACK}", "context": context}
    return {"id": decision, "name": name, "type": "button", "style": style, "integration": integration}
