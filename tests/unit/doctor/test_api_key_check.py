"""The doctor's finding about an API key follows from the control plane's answer."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from kubiya_worker.doctor.api_key_check import claims, finding
from kubiya_worker.doctor.check import PASS, WARN

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
USER = {"slug": "acme", "user_email": "ann@acme.example"}


def _token(**claimed: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claimed).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{body}.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("told", "key", "says"),
    [
        ({}, "kby_x", "organization acme, as ann@acme.example, its scope is unknown"),
        ({"user_group_names": ["Admin", "Ops"]}, "kby_x", "groups Admin Ops"),
        ({"scopes": ["worker:start", "events:write"]}, "kby_x", "scope worker:start events:write"),
        ({"permissions": "read write"}, "kby_x", "scope read write"),
        (
            {"key": {"name": "ci", "prefix": "kby_ab", "scopes": ["*"]}},
            "kby_x",
            "key ci kby_ab, with all rights",
        ),
        ({"key": {"created_at": "2026-01-02T03:04:05+00:00"}}, "kby_x", "made 2026-01-02"),
        ({}, _token(scope="worker:start"), "scope worker:start"),
        ({"scopes": [f"s{n}" for n in range(11)]}, "kby_x", "s7 and 3 more"),
        ({"key": {"expires_at": "2027-06-01T00:00:00Z"}}, "kby_x", "good until 2027-06-01 00:00 UTC"),
        ({"key": "odd", "scopes": 7, "user_group_names": {"a": 1}}, "a.b.c", "its scope is unknown"),
    ],
)
def test_what_is_told_is_shown(told: dict[str, Any], key: str, says: str) -> None:
    found = finding({**USER, **told}, claims(key), NOW)
    assert found.status == PASS and says in found.message, found.message


def test_a_key_that_ends_soon_warns() -> None:
    soon, later = int(NOW.timestamp()) + 86_400, int(NOW.timestamp()) + 90 * 86_400
    found = finding(USER, claims(_token(exp=soon)), NOW)
    assert (
        found.status == WARN and "good until 2026-11-27 12:00 UTC" in found.message and "KUBIYA_API_KEY" in found.remedy
    )
    assert finding(USER, claims(_token(exp=later)), NOW).status == PASS


def test_a_user_who_is_not_active_warns() -> None:
    found = finding({**USER, "user_status": "suspended"}, {}, NOW)
    assert found.status == WARN and found.message.endswith("the user is suspended")


@pytest.mark.parametrize("key", ["kby_x", "", "a.b", "a.!!.c", "a.bm8.c", "a.W10.c", "..", "a.b.c.d"])
def test_a_key_that_is_no_token_claims_nothing(key: str) -> None:
    assert claims(key) == {}
