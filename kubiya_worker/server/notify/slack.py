"""The channel `slack`: an incoming webhook with a link, or a bot's message whose buttons come back by Socket Mode.

Names and limits are those of https://docs.slack.dev: a header has 150 characters, a section 3,000, a button's text 75.
"""

from __future__ import annotations

import json
from typing import Any, Final

from kubiya_worker.server.notify.events import cut
from kubiya_worker.server.notify.letter import Letter, Object, body_of
from kubiya_worker.server.notify.outgoing import Outgoing, Undelivered

API: Final = "https://slack.com/api"
HEADER: Final = 150  # characters
SECTION: Final = 3_000  # characters
# Errors that the same message gets at each try.
FINAL_ERRORS: Final = frozenset(
    {"invalid_blocks", "invalid_blocks_format", "msg_too_long", "msg_blocks_too_long", "no_text", "invalid_arguments"}
)
ACTIONS: Final = {"approve": ("Approve", "primary"), "reject": ("Reject", "danger")}
BLOCK: Final = "kubiya_answer"


async def send(letter: Letter, out: Outgoing) -> None:
    content = {"text": letter.data["title"], "blocks": blocks(letter)}
    if letter.channel.get("bot_token"):
        about = {"channel": letter.channel["conversation"], "unfurl_links": False, "unfurl_media": False}
        await call(letter.channel, "chat.postMessage", {**about, **content}, out)
    else:
        await out.post(str(letter.channel["url"]), body_of(content), {"content-type": "application/json"})


def blocks(letter: Letter) -> list[Object]:
    """Return the message. All of an agent's words are plain text: they mention nobody and are no markup."""
    actions: list[Object] = [{**_button("Open", "open"), "url": letter.link}]
    if letter.token and not letter.question:
        actions += [
            {**_button(text, decision), "style": style, "value": letter.token}
            for decision, (text, style) in ACTIONS.items()
        ]
    return [
        {"type": "header", "text": _plain(letter.data["title"], HEADER)},
        {"type": "section", "text": _plain(letter.data["text"], SECTION)},
        {"type": "actions", "block_id": BLOCK, "elements": actions},
    ]


def outcome(text: str) -> list[Object]:
    """Return what takes the place of a message that was answered."""
    return [{"type": "section", "text": _plain(text, SECTION)}]


def _plain(text: str, most: int) -> Object:
    return {"type": "plain_text", "text": cut(text, most), "emoji": False}


def _button(text: str, action: str) -> Object:
    return {"type": "button", "action_id": action, "text": _plain(text, 75)}


async def call(channel: Object, method: str, content: Object, out: Outgoing, *, by: str = "bot_token") -> Object:
    """Call a method of Slack's Web API and return its answer. Raises Undelivered."""
    url = f"{str(channel.get('api_url') or API).rstrip('/')}/{method}"
    headers = {"content-type": "application/json; charset=utf-8", "authorization": f"Bearer {channel[by]}"}
    answer = await out.post(url, body_of(content), headers)
    try:
        response: Any = json.loads(answer.body)
    except ValueError:
        response = None
    if not isinstance(response, dict) or response.get("ok") is not True:
        error = str(response.get("error") or "") if isinstance(response, dict) else "no JSON"
        raise Undelivered(f"Slack refuses {method}: {cut(error, 80)}", final=error in FINAL_ERRORS)
    return response
