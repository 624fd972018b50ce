"""This module knows the numbers by which some providers name their errors, each beside what shows whose number it is.

A number means nothing without its provider: 1002 is MiniMax's limit of calls and Zhipu's wrong key. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from kubiya_worker.models import base
from kubiya_worker.models.provider_report import ProviderReport

Kinds = Mapping[str, str]


def _kinds(numbers: Mapping[str, str]) -> Kinds:
    return {number: kind for kind, listed in numbers.items() for number in listed.split()}


# `base_resp.status_code`
_MINIMAX: Final = _kinds(
    {
        base.UNAVAILABLE: "1000 1001 1013 1024 1033",
        base.RATE_LIMITED: "1002 1041",
        base.AUTH: "1004 2049",
        base.QUOTA: "1008 2056",
        base.REFUSED: "1026 1027",
        base.CONTEXT_OVERFLOW: "1039",
    }
)
# `error.code`, a text of four digits
_ZHIPU: Final = _kinds(
    {
        base.AUTH: "1000 1001 1002 1003 1004 1110 1111 1112 1220",
        base.QUOTA: "1113 1304 1309 1310",
        base.UNKNOWN_MODEL: "1211 1221 1222",
        base.CONTEXT_OVERFLOW: "1261",
        base.REFUSED: "1301",
        base.RATE_LIMITED: "1302 1303 1305 1312",
    }
)
# `errors[].code` beside `success: false`: Workers AI and the AI gateway
_CLOUDFLARE: Final = _kinds(
    {
        base.AUTH: "2009 9106 10000 10001",
        base.REFUSED: "2016 2017",
        base.CONTEXT_OVERFLOW: "3006 5021",
        base.UNAVAILABLE: "3007 3008 3046",
        base.QUOTA: "3036 4006",
        base.RATE_LIMITED: "3040",
        base.UNKNOWN_MODEL: "5007",
    }
)
_FOUR_DIGITS: Final = re.compile(r"1[0-3]\d\d")


def kind_of(report: ProviderReport) -> str | None:
    """Return the kind of ModelError that a provider's own number stands for; None without one that is known."""
    body = report.parsed
    if not isinstance(body, Mapping):
        return None
    held = body.get("base_resp")
    if isinstance(held, Mapping):
        return _MINIMAX.get(str(held.get("status_code")))
    errors = body.get("errors") or body.get("error")
    if body.get("success") is False and isinstance(errors, list):
        numbers = [str(error.get("code")) for error in errors if isinstance(error, Mapping)]
        return next((_CLOUDFLARE[number] for number in numbers if number in _CLOUDFLARE), None)
    error = body.get("error")
    code = error.get("code") if isinstance(error, Mapping) and set(error) <= {"code", "message"} else None
    return _ZHIPU.get(code) if isinstance(code, str) and _FOUR_DIGITS.fullmatch(code) else None
