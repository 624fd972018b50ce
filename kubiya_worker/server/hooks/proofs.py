"""This module checks how a sender proves that it has a hook's secret. The ways are data: kinds and presets. Pure.

kind            the sender shows
bearer          Authorization: Bearer SECRET
basic           Authorization: Basic, of `user` and the secret
header-token    the secret itself in `header`, after `prefix`
body-token      the secret itself in the field `field` of the body
hmac            HMAC-SHA256 in `header`, after `prefix`, as `encoding`, over `signed`
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.server.proof import TOLERANCE, seconds, standard_key

BEARER: Final = "bearer"
BASIC: Final = "basic"
HEADER: Final = "header-token"
BODY: Final = "body-token"
HMAC: Final = "hmac"
SECRETS: Final = ("secret", "old_secret")
# The fields that each kind takes beside the secrets; those with True have to be there.
FIELDS: Final[dict[str, dict[str, bool]]] = {
    BEARER: {},
    BASIC: {"user": True},
    HEADER: {"header": True, "prefix": False},
    BODY: {"field": True},
    HMAC: {
        **{"header": True, "prefix": False, "encoding": False, "signed": False},
        **{"timestamp_header": False, "id_header": False, "tolerance_seconds": False},
    },
}
KINDS: Final = tuple(FIELDS)
ENCODINGS: Final = ("hex", "base64")
_STANDARD: Final = {
    **{"kind": HMAC, "header": "webhook-signature", "prefix": "v1,", "encoding": "base64"},
    **{"signed": "{id}.{timestamp}.{body}", "timestamp_header": "webhook-timestamp", "id_header": "webhook-id"},
}
# By the name of a sender: the way that it uses if nothing else is said.
PRESETS: Final[dict[str, dict[str, Any]]] = {
    "alertmanager": {"kind": BEARER},
    "grafana": {"kind": BEARER},
    "grafana-hmac": {"kind": HMAC, "header": "X-Grafana-Alerting-Signature"},
    "pagerduty": {"kind": HMAC, "header": "X-PagerDuty-Signature", "prefix": "v1="},
    "pagerduty-events": {"kind": BODY, "field": "routing_key"},
    "github": {"kind": HMAC, "header": "X-Hub-Signature-256", "prefix": "sha256="},
    "gitlab": {"kind": HEADER, "header": "X-Gitlab-Token"},
    "gitlab-signed": _STANDARD,
    "gitea": {"kind": HMAC, "header": "X-Gitea-Signature"},
    "forgejo": {"kind": HMAC, "header": "X-Forgejo-Signature"},
    "zabbix": {"kind": BEARER},
    "standard": _STANDARD,
    "cloudevents": {"kind": BEARER},
    "json": {"kind": BEARER},
    "slack": {
        **{"kind": HMAC, "header": "X-Slack-Signature", "prefix": "v0=", "signed": "v0:{timestamp}:{body}"},
        "timestamp_header": "X-Slack-Request-Timestamp",
    },
}


class NotProven(Exception):
    """The request does not show the secret; the text is for the hook's owner, never for the sender."""


@dataclass(frozen=True)
class ShownProof:
    """A shown proof is what a request proves: the `signature`, if it is signed, and whether its time is (`timed`)."""

    signature: str = ""
    timed: bool = False


class BadProof(ValueError):
    """The description of a proof is wrong in one field."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


def complete(proof: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return a proof with what its preset says, or else that of the hook's source. Raises BadProof."""
    named = proof.get("preset")
    if named is not None and named not in PRESETS:
        raise BadProof("preset", f"preset is one of {', '.join(PRESETS)}")
    # A kind of its own is no change of a preset: it begins with nothing.
    base: Mapping[str, Any] = PRESETS[named] if named else {} if proof.get("kind") else PRESETS[source]
    whole = {**base, **{name: value for name, value in proof.items() if name != "preset"}}
    kind = whole["kind"]
    for name in proof.keys() - {"preset", "kind", *SECRETS}:
        if name not in FIELDS[kind]:
            accepted = ", ".join(FIELDS[kind]) or "no other field"
            raise BadProof(name, f"a proof of the kind {kind} has no {name}: it takes {accepted}")
    for name, needed in FIELDS[kind].items():
        if needed and not whole.get(name):
            raise BadProof(name, f"a proof of the kind {kind} needs {name}")
    if kind == HMAC:
        _check_signed(whole)
    return whole


def _check_signed(whole: dict[str, Any]) -> None:
    """Refuse a proof that signs a time or an id without saying where it is, or the other way round."""
    if "signed" not in whole:
        whole["signed"] = "{timestamp}:{body}" if whole.get("timestamp_header") else "{body}"
    signed = whole["signed"]
    if signed.count("{body}") != 1:
        raise BadProof("signed", "signed has {body} once, and may have {timestamp} and {id}")
    for part, header in (("{timestamp}", "timestamp_header"), ("{id}", "id_header")):
        if (part in signed) != bool(whole.get(header)):
            fault = f"signed has {part}, which needs {header}" if part in signed else f"signed has no {part}"
            raise BadProof(header, fault)
    if whole.get("tolerance_seconds") and not whole.get("timestamp_header"):
        raise BadProof("tolerance_seconds", "without a signed time there is no tolerance: set timestamp_header")
    whole.setdefault("encoding", "hex")
    whole.setdefault("tolerance_seconds", TOLERANCE)


def prove(
    proof: Mapping[str, Any], secrets: Sequence[str], body: bytes, headers: Mapping[str, str], now: float
) -> ShownProof:
    """Return what the request has shown with one of the secrets. Raises NotProven.

    Every secret is compared, and each comparison takes the same time, wherever the first difference is.
    """
    kind = proof["kind"]
    if kind == HMAC:
        return _signed(proof, secrets, body, headers, now)
    if kind == BODY:
        shown = _of_body(body, proof["field"])
    elif kind == HEADER:
        shown = _after(headers.get(proof["header"].lower(), ""), str(proof.get("prefix") or ""))
    else:
        shown = _credentials(headers.get("authorization", ""), proof)
    if not shown:
        raise NotProven(f"It shows no secret: a proof of the kind {kind} is expected{_where(proof)}")
    same = [_same(shown, secret) for secret in secrets]
    if not any(same):
        raise NotProven(f"It shows another secret{_where(proof)}")
    return ShownProof()


def _where(proof: Mapping[str, Any]) -> str:
    place = proof.get("header") or ("Authorization" if proof["kind"] in (BEARER, BASIC) else proof.get("field"))
    return f" in {place}"


def _credentials(header: str, proof: Mapping[str, Any]) -> str:
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() != proof["kind"]:
        return ""
    if proof["kind"] == BEARER:
        return rest.strip()
    try:
        user, _, secret = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return secret if _same(user, proof["user"]) else ""


def _after(value: str, prefix: str) -> str:
    return value[len(prefix) :].strip() if value.startswith(prefix) else ""


def _of_body(body: bytes, field: str) -> str:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    shown = document.get(field) if isinstance(document, dict) else None
    return shown if isinstance(shown, str) else ""


def _signed(
    proof: Mapping[str, Any], secrets: Sequence[str], body: bytes, headers: Mapping[str, str], now: float
) -> ShownProof:
    value, prefix = headers.get(proof["header"].lower(), ""), str(proof.get("prefix") or "")
    if not value:
        raise NotProven(f"It is not signed: {proof['header']} is missing")
    at = headers.get(str(proof.get("timestamp_header") or "").lower(), "")
    number = headers.get(str(proof.get("id_header") or "").lower(), "")
    begin, _, end = proof["signed"].partition("{body}")
    begin, end = (part.replace("{timestamp}", at).replace("{id}", number) for part in (begin, end))
    text = begin.encode() + body + end.encode()
    # A sender with two secrets shows one signature for each; a prefix may itself have the comma between them.
    shown = [part.removeprefix(prefix) for part in value.replace("," if "," not in prefix else " ", " ").split()]
    good = ""
    for secret in secrets:
        signature = hmac.new(standard_key(secret), text, "sha256").digest()
        right = base64.b64encode(signature).decode() if proof["encoding"] == "base64" else signature.hex()
        for claimed in shown:
            if _same(claimed if proof["encoding"] == "base64" else claimed.lower(), right):
                good = right
    if not good:
        raise NotProven(f"The signature in {proof['header']} is not that of this body and the hook's secret")
    if not proof.get("timestamp_header"):
        return ShownProof(good)
    stamp = seconds(at)
    if stamp is None:
        raise NotProven(f"{proof['timestamp_header']} is no time in seconds")
    if abs(now - stamp) > proof["tolerance_seconds"]:
        raise NotProven(
            f"The signed time is {abs(now - stamp):.0f} s from the time here; {proof['tolerance_seconds']} are allowed"
        )
    return ShownProof(good, timed=True)


def _same(shown: str, right: str) -> bool:
    return hmac.compare_digest(shown.encode("utf-8", "replace"), right.encode("utf-8", "replace"))
