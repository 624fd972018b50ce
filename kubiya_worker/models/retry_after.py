"""This module reads how long a provider asks to wait, in all forms that servers use: headers, body, words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from kubiya_worker.models.provider_report import ProviderReport
from kubiya_worker.models.wire.numbers import finite

_UNITS: Final = {
    **dict.fromkeys(("ms", "msec", "msecs", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("us", "µs", "ns"), 0.0),
    **{"毫秒": 0.001, "秒": 1.0, "秒钟": 1.0, "分钟": 60.0, "分": 60.0, "小时": 3600.0, "時間": 3600.0},
}
_NAMES: Final = "|".join(sorted(_UNITS, key=len, reverse=True))
_PART: Final = re.compile(rf"(\d+(?:\.\d+)?)\s*(?:more\s+)?({_NAMES})(?![a-zµ])", re.IGNORECASE)
_DURATION: Final = rf"(?:\d+(?:\.\d+)?\s*(?:more\s+)?(?:{_NAMES})(?![a-zµ])[\s,]*(?:and\s+)?)+"
_CLOCK: Final = r"(?<=in )(?:(\d+):)?(\d{1,2}):(\d\d(?:\.\d+)?)(?!\w)"
_CLOCK_ALONE: Final = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_MOMENT: Final = r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?: ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d))?)"
_WHOLE: Final = re.compile(_DURATION, re.IGNORECASE)
_ISO: Final = re.compile(r"P(?:(\d+)D)?T?(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?", re.IGNORECASE)
_ISO_UNITS: Final = (86400.0, 3600.0, 60.0, 1.0)
# "Please try again in 3.2s", "retry after 20 seconds", "resets in 1 minute", "wait 30 s before", "retry after 20".
_ASKS: Final = (
    r"(?:try(?:ing)?(?:\s+\w+)?\s+again|try(?=\s+in\b)|retry(?:ing|[ _-]?(?:after|in|delay))?|retried|wait(?:ing)?"
    r"|(?:another|next|new) request"
    r"|resets?|available(?:\s+again)?|allowed|replenished|come\s+back|back\s*-?off|cool(?:ing)?[ -]?down)(?![a-z])"
)
_AFTER: Final = re.compile(  # Chinese and Japanese: "after 3 seconds"
    r"(\d+(?:\.\d+)?)\s*(毫秒|ms|秒钟|秒|s|分钟|分|小时|時間)[之以]?[后後]"
)
_AT: Final = re.compile(rf"{_ASKS}[^.;\d]{{0,40}}(?:{_MOMENT}|{_CLOCK})", re.IGNORECASE)
_WORDS: Final = re.compile(
    rf"{_ASKS}(?:[^.;\d]|\.(?!\s)){{0,60}}?(?<![\w.])(?:({_DURATION})|(?<=in )(\d+(?:\.\d+)?)(?![\w:-])"
    r"|(?:(?<=after )|(?<=after: )|(?<=after=))(\d+(?:\.\d+)?)(?![\w:-]))",
    re.IGNORECASE,
)
_RESET: Final = re.compile(r"^(.*rate-?limit)-?(.*?)-?reset(?:-(?!after)(.+))?(?:-after)?$")
# RateLimit: "minute";r=0;t=30, or in older drafts limit=10, remaining=0, reset=30
_SHORT: Final = re.compile(r"\b(?:r|remaining)\s*=\s*(\d+).*?\b(?:t|reset)\s*=\s*(\d+)", re.DOTALL)

_LONGEST: Final = 400 * 86400.0  # seconds; a longer wait is no answer to anybody
_NUMBER_WORDS: Final = {"an": "1", "a": "1", "one": "1", "two": "2", "three": "3", "five": "5", "ten": "10"}
_IN_WORDS: Final = re.compile(
    rf"\b(?:(half) )?({'|'.join(_NUMBER_WORDS)}) (seconds?|minutes?|hours?|days?)\b", re.IGNORECASE
)

_SEPARATORS: Final = re.compile(r"[_ -]")
_MILLISECONDS: Final = ("retry-after-ms", "x-ms-retry-after-ms", "x-retry-after-ms")
_SECONDS: Final = ("retry-after", "x-retry-after", "x-ratelimit-reset-after", "ratelimit-reset-after")
# Names of fields in a body, without separators. `estimatedtime` is the time that a server still needs to load a model.
_FIELDS: Final = (
    *("retrydelay", "retryafter", "retryafterseconds", "retryaftersec", "retryaftersecs", "retryin", "retryinseconds"),
    *(
        "quotaresetdelay",
        "quotaresettimestamp",
        "resetsin",
        "resetin",
        "resetsinseconds",
        "resetinseconds",
        "resetafter",
    ),
    *(
        "resetsat",
        "resetat",
        "waitseconds",
        "secondstowait",
        "resettime",
        "cooldowntime",
        "backoffseconds",
        "estimatedtime",
    ),
)
_FIELDS_MS: Final = ("retryafterms", "retrydelayms", "retryinms", "waitms")


def wait_of(report: ProviderReport, now: datetime | None = None) -> float | None:
    """Return the seconds that a failed answer asks to wait; None when it does not say.

    Fields for retries come first, then the limit that is used up, then words, then any limit's reset.
    """
    now = now or datetime.now(UTC)
    headers = {**_inner_headers(report), **report.headers}
    resets = list(_resets(headers, report, now))
    used_up = [seconds for seconds, exhausted in resets if exhausted]
    delays = (
        *(_scaled(headers.get(name), 0.001, now) for name in _MILLISECONDS),
        *(seconds_of(headers.get(name), now) for name in _SECONDS),
        *(_scaled(_field(report, name), 0.001, now) for name in _FIELDS_MS),
        *(seconds_of(_field(report, name), now) for name in _FIELDS),
        max(used_up, default=None),
        in_words(" ".join(report.texts), now),
        min((seconds for seconds, exhausted in resets if exhausted is None), default=None),
    )
    return next((seconds for seconds in delays if seconds is not None and seconds <= _LONGEST), None)


def seconds_of(value: Any, now: datetime) -> float | None:
    """Return a wait's value in seconds; it can be seconds, a duration with units, a date, or a time since 1970."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, Mapping):  # a protobuf Duration
        return seconds_of((finite(value.get("seconds")) or 0) + (finite(value.get("nanos")) or 0) / 1e9, now)
    number = finite(value)
    if number is not None:
        if number >= 1e11:
            number = number / 1000 - now.timestamp()
        elif number >= 1e9:
            number -= now.timestamp()
        return max(0.0, number)
    text = str(value).strip().strip("'\";").strip()
    if text != str(value) and finite(text) is not None:
        return seconds_of(finite(text), now)
    clock = _CLOCK_ALONE.fullmatch(text)
    if clock:
        return sum(float(part) * unit for part, unit in zip(clock.groups(), _ISO_UNITS[1:], strict=True))
    several = [finite(part) for part in text.split(",") if part.strip()]  # a header that a proxy has added once more
    if "," in text and several and None not in several:
        return max(seconds_of(part, now) or 0.0 for part in several)
    if _WHOLE.fullmatch(text):
        return _duration(text)
    iso = _ISO.fullmatch(text)
    if iso and any(iso.groups()):
        return sum(float(part or 0) * unit for part, unit in zip(iso.groups(), _ISO_UNITS, strict=True))
    return _until(text, now)


def in_words(text: str, now: datetime) -> float | None:
    """Return the wait that a sentence asks for, such as "Please try again in 1m30s"."""
    text = _IN_WORDS.sub(_in_digits, text)
    moment = _AT.search(text)
    if moment and moment.group(1):
        return _until(re.sub(r" ?(?:UTC|GMT)$", "+00:00", moment.group(1), flags=re.IGNORECASE), now)
    if moment:
        hours, minutes, seconds = (float(part or 0) for part in moment.groups()[1:])
        return hours * 3600 + minutes * 60 + seconds
    match = _WORDS.search(text)
    if match is None:
        after = _AFTER.search(text)
        return float(after[1]) * _UNITS[after[2]] if after else None
    return _duration(match.group(1)) if match.group(1) else float(match.group(2) or match.group(3))


def _in_digits(found: re.Match[str]) -> str:
    amount = _NUMBER_WORDS[found[2].lower()]
    return f"{float(amount) / 2 if found[1] else amount} {found[3]}"


def _duration(text: str) -> float:
    return sum(float(amount) * _UNITS[unit.lower()] for amount, unit in _PART.findall(text))


def _until(text: str, now: datetime) -> float | None:
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # asctime has no zone: RFC 9110 means UTC
        return max(0.0, (moment - now).total_seconds())
    return None


def _resets(headers: Mapping[str, str], report: ProviderReport, now: datetime) -> Iterator[tuple[float, bool | None]]:
    """Yield each limit's reset in seconds, and whether that limit is used up (None if nothing says so)."""
    for name, value in headers.items():
        if name in ("ratelimit", "x-ratelimit"):
            yield from ((float(reset), int(left) == 0) for left, reset in _SHORT.findall(value))
            continue
        match = _RESET.match(name)
        seconds = seconds_of(value, now) if match and not name.endswith("-after") else None
        if match is None or seconds is None:
            continue
        limit = match.group(2) or match.group(3) or ""
        names = (f"{match.group(1)}-remaining-{limit}", f"{match.group(1)}-{limit}-remaining")
        remaining = next((finite(headers[x.rstrip("-")]) for x in names if x.rstrip("-") in headers), None)
        if limit and limit in report.codes:  # OpenAI's `type` names the limit
            yield seconds, True
        else:
            yield seconds, None if remaining is None else remaining <= 0


def _inner_headers(report: ProviderReport) -> dict[str, str]:
    """Return the provider's headers that a gateway reports in its body."""
    inner = report.fields.get("headers")
    return {str(k).lower(): str(v) for k, v in inner.items()} if isinstance(inner, Mapping) else {}


def _field(report: ProviderReport, name: str) -> Any:
    held = {_SEPARATORS.sub("", key): value for key, value in {**report.fields, **report.numbers}.items()}
    return held.get(name)


def _scaled(value: Any, factor: float, now: datetime) -> float | None:
    number = finite(value)
    return seconds_of(value, now) if number is None else max(0.0, number * factor)
