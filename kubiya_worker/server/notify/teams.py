"""The channel `teams`: an adaptive card with a link, to the URL of a Teams workflow."""

from __future__ import annotations

from typing import Any

from kubiya_worker.server.notify.letter import Letter, body_of
from kubiya_worker.server.notify.outgoing import Outgoing


async def send(letter: Letter, out: Outgoing) -> None:
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [_text(letter.data["title"], weight="bolder"), *map(_text, letter.data["text"].splitlines())],
        "actions": [{"type": "Action.OpenUrl", "title": "Open", "url": letter.link}],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    content = {"type": "message", "attachments": [attachment]}
    await out.post(str(letter.channel["url"]), body_of(content), {"content-type": "application/json"})


def _text(text: str, **style: str) -> dict[str, Any]:
    """Return a line without markup: a text block would make links of an agent's words."""
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text or " ", **style}]}
