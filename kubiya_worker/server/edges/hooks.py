"""This module models hooks: where alerts come in, what proves them, what they start, and where the answer goes."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Final

from kubiya_worker import addresses
from kubiya_worker.server.edges.base import Filled, Filters, Json, Strict, checked_by, cut, named, one_of, within
from kubiya_worker.server.hooks import decision, prompt, proofs, senders

SECRET: Final = re.compile(r"\{\{\s*\.secret\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
REPLIES: Final = ("webhook", "github", "grafana")
PRIORITIES: Final = (1, 5)  # Temporal's: 1 is worked on first, 3 is what others have
LONGEST_COOL_DOWN: Final = 7 * 86_400


def _check_reference(text: str) -> None:
    if not SECRET.fullmatch(text.strip()):
        raise ValueError("a secret is named and not written here: kubiya secrets set NAME, and then {{.secret.NAME}}")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError("the name is a part of a URL: letters, digits, '.', '_' and '-', and first a letter or digit")


def _check_template(text: str) -> None:
    wrong = prompt.unknown(text)
    if wrong:
        raise ValueError(f"an alert has no {wrong[0]}; there are {', '.join(prompt.KNOWN)}")


def _check_url(text: str) -> None:
    try:
        addresses.parse(text)
    except addresses.RequestRefused as error:
        raise ValueError(str(error)) from error


def _check_networks(names: list[str]) -> None:
    for name in names:
        try:
            ipaddress.ip_network(name)
        except ValueError:
            raise ValueError(f"a network is written such as 10.1.0.0/16; {name!r} is none") from None


def _check_headers(headers: dict[str, Any]) -> None:
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or name.lower() in ("host", "content-length", "transfer-encoding", "connection"):
            raise ValueError(f"{name[:60]!r} is no header that can be set")
        if not isinstance(value, str) or not value.isprintable() or not value.isascii():
            raise ValueError(f"the header {name} is one line of ASCII text")


HookName = Annotated[str, named(1, 100), checked_by(_check_name)]
SecretReference = Annotated[Filled, checked_by(_check_reference)]
HeaderName = Annotated[Filled, checked_by(lambda name: _check_headers({name: ""}))]


class HookProof(Strict):
    """A proof says how a sender shows the secret. Without `kind` and `preset`, it is the usual one of the source."""

    preset: Annotated[str, one_of(*proofs.PRESETS)] | None = None
    kind: Annotated[str, one_of(*proofs.KINDS)] | None = None
    secret: SecretReference
    old_secret: SecretReference | None = None
    user: Filled | None = None
    header: HeaderName | None = None
    prefix: str | None = None
    encoding: Annotated[str, one_of(*proofs.ENCODINGS)] | None = None
    signed: Filled | None = None
    timestamp_header: HeaderName | None = None
    id_header: HeaderName | None = None
    tolerance_seconds: Annotated[int, within(1, 86_400, "seconds")] | None = None
    field: Filled | None = None


class HookReply(Strict):
    """A reply says where a run's answer goes: to a webhook, a Grafana, or the issue that the alert is about."""

    kind: Annotated[str, one_of(*REPLIES)]
    url: Annotated[Filled, checked_by(_check_url)] | None = None
    token: SecretReference | None = None
    secret: SecretReference | None = None
    headers: Annotated[Json, checked_by(_check_headers)] | None = None
    template: Filled | None = None
    private_networks: Annotated[list[str], checked_by(_check_networks)] | None = None


class HookPatch(Strict):
    """A hook. `agent` or `team` works on its alerts, on `queue` if one is named."""

    name: HookName | None = None
    description: str | None = None
    enabled: bool | None = None
    source: Annotated[str, one_of(*senders.NAMES)] | None = None
    agent: Filled | None = None
    team: Filled | None = None
    queue: Filled | None = None
    prompt: Annotated[Filled, checked_by(_check_template)] | None = None
    proof: HookProof | None = None
    events: list[str] | None = None
    match: Json | None = None
    while_running: Annotated[str, one_of(decision.MESSAGE, decision.DROP)] | None = None
    resolved: Annotated[str, one_of(decision.MESSAGE, decision.DROP)] | None = None
    wait_for_resolved: bool | None = None
    max_starts_per_minute: Annotated[int, within(1, 600, "runs")] | None = None
    cooldown_seconds: Annotated[int, within(0, LONGEST_COOL_DOWN, "seconds")] | None = None
    priority: Annotated[int, within(*PRIORITIES)] | None = None
    reply: HookReply | None = None


class NewHook(HookPatch):
    name: HookName
    source: Annotated[str, one_of(*senders.NAMES)]
    proof: HookProof


class HookTest(Strict):
    """A delivery to try: a `sample` of a sender, or a `body` with its `headers`. `start` makes it a real one."""

    sample: Annotated[str, one_of(*senders.NAMES)] | None = None
    body: Json | None = None
    headers: Annotated[Json, checked_by(_check_headers)] | None = None
    start: bool | None = None


class DeliveryFilters(Filters):
    """The last deliveries, or those with one verdict."""

    limit: Annotated[int, cut(1, 200)] = 50
    verdict: Annotated[str, one_of("", *decision.VERDICTS)] = ""
