"""This module writes an assistant message for the next request, with the extra fields that its endpoint sent. Pure.

Fields that only a provider understands are stored in a message's `thinking` as one entry:

    {origin: "host/model", fields: {...}, calls: {"0": {...}}, prefix: "..."}

`fields` are the message's, `calls` those of its calls by number, `prefix` is the text before the answer. The entry goes
back only to the endpoint and the model that it came from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from kubiya_worker.models.wire.answer import AnswerBuilder
from kubiya_worker.models.wire.tool_calls import FUNCTION, StreamedCall
from kubiya_worker.protocol.messages import Message

Entry = dict[str, Any]

ORIGIN: Final = "origin"
LARGEST: Final = 400_000  # characters stored of one answer beside its text and calls
KNOWN: Final = frozenset({"role", "content", "tool_calls"})
_NOT_TAKEN: Final = re.compile(
    r"unsupported|not supported|not permitted|not allowed|unknown|unrecogni[sz]ed|unexpected|additional propert|extra",
    re.IGNORECASE,
)
SYSTEM: Final = "system"  # among refused fields: the role of that name
_NO_SYSTEM: Final = re.compile(  # of chat templates, and of Google's API for Gemma
    r"\bsystem (?:role|messages?|prompts?|instructions?) (?:is |are )?not (?:supported|allowed|enabled)"
    r"|\bdeveloper instruction is not enabled",
    re.IGNORECASE,
)
IMAGES: Final = "image_url"  # among refused fields: each image of a request
_NO_IMAGES: Final = re.compile(
    r"\bimages?(?: inputs?| content| urls?)? (?:is|are) (?:not|un)(?: ?supported| allowed| accepted)|\bmmproj\b"
    r"|\b(?:not|n't|no endpoints found that) support (?:\w+ )?(?:images?|vision|multi-?modal)"
    r"|\bat most 0 images?|\bnot (?:a |an )?(?:multi-?modal|vision)(?: \w+)? model|invalid content type\. image_url",
    re.IGNORECASE,
)
_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME: Final = 64
# Ids of thoughts in messages that earlier versions stored without entries.
_EARLIER: Final = ("reasoning_content", "reasoning")


def origin_of(place: str, model: str) -> str:
    return f"{place}/{model}"


def entry_of(answer: AnswerBuilder, calls: list[StreamedCall], origin: str) -> Entry | None:
    """Return what must be stored of an answer, or None when there is nothing."""
    entry: Entry = {ORIGIN: origin}
    if answer.fields:
        entry["fields"] = answer.fields
    extras = {str(number): call.extra for number, call in enumerate(calls) if call.extra}
    if extras:
        entry["calls"] = extras
    if answer.prefix:
        entry["prefix"] = answer.prefix
    return entry if len(entry) > 1 and len(json.dumps(entry)) <= LARGEST else None


def unchanged(entry: Entry, clean: Callable[[Any], Any]) -> Entry:
    """Return an entry without the fields that `clean` would change.

    A signed field goes back unchanged, or not at all.
    """
    found: Entry = {ORIGIN: entry[ORIGIN]}
    for group in ("fields", "calls"):
        same = {
            name: value for name, value in (entry.get(group) or {}).items() if clean({name: value}) == {name: value}
        }
        if same:
            found[group] = same
    if entry.get("prefix") and clean(entry["prefix"]) == entry["prefix"]:
        found["prefix"] = entry["prefix"]
    return found


def assistant(
    message: Message, origin: str, provider: str = "", without: Collection[str] = frozenset()
) -> dict[str, Any]:
    """Return the message for a request to `origin`, without the fields that it does not take.

    `provider` is the name of the endpoint's kind (Connection.label).
    """
    entries: list[Entry] = [entry for entry in message.get("thinking") or () if isinstance(entry, dict)]
    entry = next((entry for entry in entries if entry.get(ORIGIN) == origin), {})
    text = str(entry.get("prefix") or "") + str(message.get("content") or "")
    sent: dict[str, Any] = {"role": "assistant", "content": text or None}
    extras: Mapping[str, Any] = entry.get("calls") or {}
    calls = [_call(call, extras.get(str(number)) or {}) for number, call in enumerate(message.get("tool_calls") or ())]
    if calls:
        sent["tool_calls"] = calls
    for name, value in {**_earlier(entries, calls, provider), **(entry.get("fields") or {})}.items():
        if name not in without:
            sent.setdefault(name, value)
    if not text and not calls:
        sent["content"] = ""  # null is valid only beside calls
    return sent


def refused_fields(status: int | None, body: Any, sent: Collection[str]) -> frozenset[str]:
    """Return the fields, of those that were sent, which an endpoint's error says it refuses; or SYSTEM, or IMAGES."""
    error_text = str(body)
    if IMAGES in sent and status is not None and status >= 400 and _NO_IMAGES.search(error_text):
        return frozenset({IMAGES})
    if status not in (400, 422):
        return frozenset()
    if _NO_SYSTEM.search(error_text):
        return frozenset({SYSTEM})
    if not _NOT_TAKEN.search(error_text):
        return frozenset()
    return frozenset(name for name in sent if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", error_text))


def _call(call: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    arguments = str(call.get("arguments") or "{}")
    function = {
        "name": sendable_name(str(call["name"])),
        "arguments": arguments if _is_object(arguments) else _wrapped(arguments),
    }
    return {
        **{name: value for name, value in extra.items() if name != FUNCTION},
        "id": call["id"],
        "type": "function",
        "function": {**(extra.get(FUNCTION) or {}), **function},
    }


def sendable_name(name: str) -> str:
    """Return a name that every server takes: a name that a model made up may be refused at each further request."""
    return _NAME.sub("_", name.strip())[:_LONGEST_NAME] or "unnamed"


def _wrapped(arguments: str) -> str:
    """Return the arguments as valid JSON.

    A gateway that parses broken ones would answer 500 to every further request.
    """
    return json.dumps({"INVALID_JSON": arguments})


def _is_object(arguments: str) -> bool:
    try:
        return isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        return False


def _earlier(entries: list[Entry], calls: list[dict[str, Any]], provider: str) -> dict[str, Any]:
    """Return the fields of a message that an earlier version stored part by part, and set those of its calls."""
    fields: dict[str, Any] = {}
    for entry in entries:
        if entry.get("provider") != provider or not provider:
            continue
        if entry.get("id") in _EARLIER and "content" in entry:
            fields[str(entry["id"])] = str(fields.get(str(entry["id"]), "")) + str(entry["content"])
        extra = (entry.get("details") or {}).get("extra_content")
        if extra and int(entry.get("call", -1)) in range(len(calls)):
            calls[int(entry["call"])]["extra_content"] = extra
    return fields
