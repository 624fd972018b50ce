"""A letter is one delivery with all that its channel needs: secrets filled in, addresses of pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from kubiya_worker.server.notify.events import QUESTION_WAITING
from kubiya_worker.server.notify.outgoing import Outgoing

ANSWERS: Final = "/answers"  # the path of the pages on which people answer
Object = dict[str, Any]


@dataclass(frozen=True)
class Letter:
    """`id` is the same at each try. `channel` has secrets in it, so it is never shown."""

    id: str
    notification: str  # the definition's name
    channel: Object = field(repr=False)
    data: Object
    url: str  # where people reach the page
    at: float  # of this try, in seconds since the epoch
    token: str = field(default="", repr=False)  # for an answer; empty where the page alone answers

    @property
    def link(self) -> str:
        """Return the address of the page about it."""
        return f"{self.url}{self.data['page']}"

    @property
    def answer(self) -> str:
        """Return the address at which the person whom it is sent to may answer; empty where there is none."""
        return f"{self.url}{ANSWERS}/{self.token}" if self.token and self.channel.get("person") else ""

    @property
    def question(self) -> bool:
        """Return whether a text is asked for, which no button can give."""
        return bool(self.data["event"] == QUESTION_WAITING or self.data["facts"].get("question"))

    @property
    def plain(self) -> str:
        """Return the text with the link, for channels without markup."""
        answer = f"\n\nTo answer: {self.answer}" if self.answer else ""
        return f"{self.data['text']}{answer}\n\n{self.link}"


Send = Callable[[Letter, Outgoing], Coroutine[Any, Any, None]]


def body_of(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
