"""This module models notifications: a channel, and who is told of what by it."""

from __future__ import annotations

import importlib.util
from email.utils import parseaddr
from typing import Annotated, ClassVar, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from kubiya_worker import templates
from kubiya_worker.addresses import RequestRefused, parse
from kubiya_worker.server.edges.base import Filled, Name, Strict, checked_by, one_of, within
from kubiya_worker.server.notify import apprise, mail, quiet
from kubiya_worker.server.notify.channels import TYPES
from kubiya_worker.server.notify.events import EVENTS, SEVERITIES

# A credential is never written in a definition: it is the name of a secret.
Secret = Annotated[
    str, Field(pattern=r"^\{\{\s*\.secret\.[A-Za-z_][A-Za-z0-9_]{0,99}\s*\}\}$", examples=["{{.secret.NAME}}"])
]
MOST_RECIPIENTS: Final = 50
LONGEST_WAIT: Final = 10_080  # minutes


def _url(text: str) -> None:
    if templates.secrets_in(text):
        return  # the secret may be the whole address, which is checked when it is used
    try:
        parse(text)
    except RequestRefused as error:
        raise ValueError(str(error)) from error


def _address(text: str) -> None:
    address = parseaddr(text)[1]
    if address.count("@") != 1 or any(ord(c) < 32 for c in text) or not address.isascii():
        raise ValueError(f"{text[:80]!r} is not an e-mail address")


Address = Annotated[Filled, checked_by(_address)]


class Channel(Strict):
    """A channel says where messages go. Which fields a type needs and takes is in docs/notifications.md."""

    type: Annotated[str, one_of(*TYPES)]
    url: Annotated[Filled, checked_by(_url)] | None = None
    secret: Secret | None = None
    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    token: Secret | None = None
    server: Filled | None = None
    tls: Annotated[str, one_of(*mail.MODES)] | None = None
    username: Filled | None = None
    password: Secret | None = None
    sender: Address | None = None
    person: Address | None = None
    bot_token: Secret | None = None
    app_token: Secret | None = None
    signing_secret: Secret | None = None
    conversation: Annotated[str, Field(pattern=r"^[A-Z0-9]{6,30}$")] | None = None
    api_url: Annotated[Filled, checked_by(_url)] | None = None
    persons: Annotated[dict[str, Address], Field(min_length=1)] | None = None
    to: Annotated[list[Address], Field(min_length=1, max_length=MOST_RECIPIENTS)] | None = None

    @model_validator(mode="after")
    def _of_its_type(self) -> Channel:
        known = TYPES[self.type]
        fields_set = {name for name in self.model_fields_set if getattr(self, name) is not None} - {"type"}
        takes = (*known.needs, *known.takes)
        for name in sorted(fields_set - set(takes)):
            raise _wrong(f"A channel of the type {self.type} takes no {name}; it takes {', '.join(takes)}")
        for name in known.needs:
            if name not in fields_set:
                raise _wrong(f"A channel of the type {self.type} needs {name}")
        if self.type == "slack":
            self._check_slack()
        if self.type == "apprise" and not apprise.installed():
            raise _wrong(apprise.EXTRA)
        if known.secret_url and self.url is not None and not templates.secrets_in(self.url):
            raise _wrong(f"The url of a {self.type} channel is a credential: set it as a secret, and refer to it")
        if self.person is not None and len(self.to or ()) > 1:
            raise _wrong("Who answers from a mail is its only recipient: give one in `to`")
        if self.server is not None:
            try:
                mail.server_of({"server": self.server, "tls": self.tls})
            except ValueError as error:
                raise _wrong(str(error)) from error
        if self.username is not None and self.tls == mail.NONE:
            raise _wrong("Nobody signs in without TLS: choose starttls or tls")
        if (self.username is None) != (self.password is None):
            raise _wrong("username and password belong together")
        return self

    def _check_slack(self) -> None:
        """Refuse a channel that is neither an incoming webhook nor a bot, and buttons that would not come back."""
        if (self.url is None) == (self.bot_token is None) or (self.bot_token is None) != (self.conversation is None):
            raise _wrong("A channel of the type slack needs url, or bot_token and conversation")
        if self.app_token is not None and self.signing_secret is not None:
            raise _wrong("Buttons of Slack come back in one way: by app_token (Socket Mode), or by signing_secret")
        back = self.app_token is not None or self.signing_secret is not None
        if back != (self.persons is not None):
            raise _wrong("Buttons of Slack need both: app_token or signing_secret, and persons who may press them")
        if back and self.bot_token is None:
            raise _wrong("Buttons of Slack need a bot: bot_token and conversation in place of url")
        if self.app_token is not None and not _has_socket_mode():
            raise _wrong("Buttons of Slack need the extra notify: pip install 'kubiya-worker[server,notify]'")


def _has_socket_mode() -> bool:
    return importlib.util.find_spec("slack_sdk") is not None


def _wrong(text: str) -> PydanticCustomError:
    return PydanticCustomError("value_error", "{text}", {"text": text})


class NotificationFilters(Strict):
    """The filters limit a notification, by names or ids; a list that is absent is no limit."""

    agents: list[Filled] | None = None
    teams: list[Filled] | None = None
    queues: list[Filled] | None = None


Events = Annotated[list[Annotated[str, one_of(*EVENTS)]], Field(min_length=1)]


def _clock(text: str) -> None:
    quiet.clock(text)


def _zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name[:80]!r} is no time zone; such as Europe/Berlin") from None


class QuietHours(Strict):
    """Quiet hours hold messages until their end, by the clock of a zone; a severity from `let_pass` on is not held."""

    start: Annotated[str, checked_by(_clock)]
    end: Annotated[str, checked_by(_clock)]
    zone: Annotated[str, checked_by(_zone)]
    let_pass: Annotated[str, one_of(*SEVERITIES[1:])] | None = None

    @model_validator(mode="after")
    def _not_always(self) -> QuietHours:
        if self.start == self.end:
            raise _wrong("start and end are the same: to be told of nothing, set enabled to false")
        return self


class Then(Strict):
    """The notification that is told next when a request has no answer after so many minutes."""

    after_minutes: Annotated[int, within(1, LONGEST_WAIT, "minutes")]
    notification: Filled


class NotificationPatch(Strict):
    nullable: ClassVar[frozenset[str]] = frozenset({"quiet_hours", "then", "budget_percent"})

    name: Name | None = None
    description: str | None = None
    enabled: bool | None = None
    channel: Channel | None = None
    events: Events | None = None
    filters: NotificationFilters | None = None
    quiet_hours: QuietHours | None = None
    then: Then | None = None
    budget_percent: Annotated[int, within(1, 99, "percent")] | None = None


class NewNotification(NotificationPatch):
    name: Name
    channel: Channel
    events: Events
