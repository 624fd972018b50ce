"""This module is the table of channels: for each type its fields, and what sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kubiya_worker.server.notify import apprise, mail, mattermost, ntfy, slack, teams, webhook
from kubiya_worker.server.notify.letter import Send


@dataclass(frozen=True)
class ChannelType:
    """A type of channel: the fields that it needs, those that it takes besides, and what sends a letter.

    In `secret_url`, the address itself is the credential, so it has to be a reference to a secret.
    """

    needs: tuple[str, ...]
    takes: tuple[str, ...]
    send: Send
    secret_url: bool = False


TYPES: Final = {
    "webhook": ChannelType(("url", "secret"), ("person",), webhook.send),
    "ntfy": ChannelType(("url", "topic"), ("token", "person"), ntfy.send),
    "email": ChannelType(("server", "sender", "to"), ("tls", "username", "password", "person"), mail.send),
    "mattermost": ChannelType(("url",), ("persons",), mattermost.send, secret_url=True),
    "slack": ChannelType(
        (),
        ("url", "bot_token", "conversation", "app_token", "signing_secret", "persons", "api_url"),
        slack.send,
        secret_url=True,
    ),
    "teams": ChannelType(("url",), (), teams.send, secret_url=True),
    "apprise": ChannelType(("url",), (), apprise.send, secret_url=True),
}
