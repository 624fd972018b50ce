"""A letter is one delivery with all that its channel needs: secrets filled in, addresses of pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from kubiya_worker.server.notify.outgoing import Outgoing

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

    @property
    def link(self) -> str:
        """Return the address of the page about it."""
        return f"{self.url}{self.data['page']}"

    @property
    def plain(self) -> str:
        """Return the text with the link, for channels without markup."""
        return f"{self.data['text']}\n\n{self.link}"


Send = Callable[[Letter, Outgoing], Coroutine[Any, Any, None]]


def body_of(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
