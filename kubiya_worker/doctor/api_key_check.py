"""Describe an API key in one line, from the control plane's answer. Pure.

The answer has the organization and the user (docs/protocol.md#a1). Some control planes add scopes, a name and an end
(`scopes`, `permissions`, an object `key`); a token that is a JSON web token holds them itself.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from kubiya_worker.doctor.check import PASS, WARN, Finding

EVERYTHING: Final = "*"
SCOPES: Final = ("scopes", "scope", "permissions")
ENDS_SOON: Final = 14 * 86_400  # seconds
SHOWN: Final = 8  # scopes and groups in the line


def claims(key: str) -> dict[str, Any]:
    """Return the unverified claims of a JSON web token; empty for any other key."""
    parts = key.split(".")
    if len(parts) != 3:
        return {}
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return payload if isinstance(payload, dict) else {}


def finding(answer: Mapping[str, Any], token_claims: Mapping[str, Any], now: datetime) -> Finding:
    """Return the finding. `answer` is the reply of `/auth/validate`, `token_claims` the result of `claims`."""
    key = answer.get("key")
    key = key if isinstance(key, dict) else {}
    sources = (key, answer, token_claims)
    parts = [f"organization {answer.get('slug') or answer.get('name') or answer.get('id') or 'unknown'}"]
    parts += [f"as {answer['user_email']}"] if answer.get("user_email") else []
    groups = _words(answer.get("user_group_names"))
    parts += [f"groups {_list(groups)}"] if groups else []
    name = " ".join(str(key[each]) for each in ("name", "prefix", "id") if key.get(each))
    parts += [f"key {name}"] if name else []
    scopes = next((words for place in sources for each in SCOPES if (words := _words(place.get(each)))), None)
    if scopes is None:
        parts.append("its scope is unknown")
    else:
        parts.append("with all rights" if EVERYTHING in scopes else f"scope {_list(scopes)}")
    if key.get("created_at"):
        parts.append(f"made {str(key['created_at'])[:10]}")
    end = next(_ends((key.get("expires_at"), answer.get("expires_at"), token_claims.get("exp"))), None)
    parts += [f"good until {end:%Y-%m-%d %H:%M} UTC"] if end else []
    text = ", ".join(parts)
    if str(answer.get("user_status") or "active").lower() != "active":
        return Finding(WARN, f"{text}; the user is {answer['user_status']}", "Use the key of an active user")
    if end and (end - now).total_seconds() < ENDS_SOON:
        return Finding(WARN, text, "Make a new key, and set KUBIYA_API_KEY to it")
    return Finding(PASS, text)


def _words(value: Any) -> list[str]:
    """Return a list of words; tokens may have a string with spaces instead."""
    if isinstance(value, str):
        return value.split()
    return [str(each) for each in value if each] if isinstance(value, list) else []


def _list(words: list[str]) -> str:
    return " ".join(words[:SHOWN]) + (f" and {len(words) - SHOWN} more" if len(words) > SHOWN else "")


def _ends(stamps: tuple[Any, ...]) -> Iterator[datetime]:
    for each in stamps:
        try:
            if isinstance(each, int | float) and not isinstance(each, bool):
                yield datetime.fromtimestamp(each, UTC)
            elif isinstance(each, str) and each:
                moment = datetime.fromisoformat(each)
                yield moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, OverflowError, OSError):
            continue
