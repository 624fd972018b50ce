"""This module is the table of channels: for each type its fields, and what sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kubiya_worker.server.notify import mail, ntfy, webhook
from kubiya_worker.server.notify.letter import Send


@dataclass(frozen=True)
class ChannelType:
    """A type of channel: the fields that it needs, those that it takes besides, and what sends a letter."""

    needs: tuple[str, ...]
    takes: tuple[str, ...]
    send: Send


TYPES: Final = {
    "webhook": ChannelType(("url", "secret"), (), webhook.send),
    "ntfy": ChannelType(("url", "topic"), ("token",), ntfy.send),
    "email": ChannelType(("server", "sender", "to"), ("tls", "username", "password"), mail.send),
}
