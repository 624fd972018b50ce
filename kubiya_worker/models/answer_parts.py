"""This module keeps the parts of an answer in order, with a provider's signatures, in a message's `thinking`. Pure.

A message holds one text and a list of calls. Providers that sign thoughts want them back unchanged, in their place:
Anthropic each thinking block where it was, Google the signature of a call with that call. So this holds, in order:

    {content, id?, signature?, provider?, details?}      a thought
    {text: characters, provider?, details?}              so much of the message's text
    {call: number, provider?, details?}                  a call of the message's list

The latter two are left out when they add nothing: when thoughts come first, then the text, then the calls, and neither
the text nor a call is signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_ai import messages as pai

from kubiya_worker.protocol.characters import without_half_surrogates
from kubiya_worker.protocol.messages import Message

Entry = dict[str, Any]


def entries(parts: Sequence[pai.ModelResponsePart]) -> list[Entry]:
    """Return what must be stored of an answer besides its text and its calls."""
    stored: list[Entry] = []
    calls = 0
    for part in parts:
        if isinstance(part, pai.ThinkingPart):
            stored.append(_entry(part, content=part.content, id=part.id, signature=part.signature))
        elif isinstance(part, pai.TextPart):
            stored.append(_entry(part, text=len(without_half_surrogates(part.content or ""))))
        elif isinstance(part, pai.ToolCallPart):
            stored.append(_entry(part, call=calls))
            calls += 1
    signed = any("details" in entry for entry in stored if "content" not in entry)
    return stored if signed or not _in_usual_order(stored) else [entry for entry in stored if "content" in entry]


def restored(message: Message) -> list[pai.ModelResponsePart]:
    """Return the parts of an assistant message.

    If the stored order does not fit (after redaction), use the usual order.
    """
    # Skip entries of OpenAI-compatible endpoints (wire/outgoing.py): they are for that endpoint only.
    stored: list[Entry] = [entry for entry in message.get("thinking") or () if "origin" not in entry]
    text = str(message.get("content") or "")
    calls = list(message.get("tool_calls") or ())
    lengths = [int(entry["text"]) for entry in stored if "text" in entry]
    numbers = [int(entry["call"]) for entry in stored if "call" in entry]
    if sum(lengths) != len(text) or numbers != list(range(len(calls))):
        signed = {int(entry["call"]): entry for entry in stored if "call" in entry}
        stored = [entry for entry in stored if "text" not in entry and "call" not in entry]
        stored += [{"text": len(text)}] if text else []
        stored += [{**signed.get(number, {}), "call": number} for number in range(len(calls))]
    parts: list[pai.ModelResponsePart] = []
    for entry in stored:
        provider_fields: dict[str, Any] = {
            "provider_name": entry.get("provider"),
            "provider_details": entry.get("details"),
        }
        if "text" in entry:
            part_text, text = text[: int(entry["text"])], text[int(entry["text"]) :]
            parts.append(pai.TextPart(content=part_text, **provider_fields))
        elif "call" in entry:
            call = calls[int(entry["call"])]
            arguments = call.get("arguments") or "{}"
            parts.append(pai.ToolCallPart(call["name"], arguments, tool_call_id=call["id"], **provider_fields))
        else:
            content = str(entry.get("content") or "")
            parts.append(
                pai.ThinkingPart(content, id=entry.get("id"), signature=entry.get("signature"), **provider_fields)
            )
    return parts


def _entry(part: pai.ThinkingPart | pai.TextPart | pai.ToolCallPart, **fields: Any) -> Entry:
    details = part.provider_details or None
    about = {"provider": part.provider_name if details or "content" in fields else None, "details": details}
    return {name: value for name, value in {**fields, **about}.items() if value is not None}


def _in_usual_order(entries: Sequence[Entry]) -> bool:
    """Return whether thoughts come first, then at most one text, then calls."""
    order = [1 if "content" in entry else 2 if "text" in entry else 3 for entry in entries]
    return order == sorted(order) and order.count(2) <= 1
