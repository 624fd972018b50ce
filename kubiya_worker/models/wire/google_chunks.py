"""This module makes well-formed chunks of what servers of Google's generateContent API really send. Pure.

Google's package refuses a whole answer for one field that differs from its description.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kubiya_worker.models import base
from kubiya_worker.models.wire import embedded_errors, finish_reasons
from kubiya_worker.models.wire.google_calls import PartialCalls
from kubiya_worker.models.wire.native_blocks import Unreadable, words
from kubiya_worker.models.wire.numbers import finite, position

Chunk = dict[str, Any]

_OURS: Final = ("candidates", "promptFeedback", "usageMetadata")
_CALLS: Final = ("functionCall", "function_call")
_SIGNATURES: Final = ("thoughtSignature", "thought_signature")
_OTHER_PARTS: Final = ("inlineData", "fileData", "executableCode", "codeExecutionResult")
_REST: Final = ("thoughtsTokenCount", "toolUsePromptTokenCount")
_EXPLAINED: Final = (finish_reasons.ERROR, base.CONTENT_FILTER)


class GoogleChunks:
    """Make the chunks of one answer.

    `begun` says whether any part of an answer came, `stopped` is the reason and the words of an answer that cannot be
    used, which the package would lose.
    """

    def __init__(self) -> None:
        self.begun = False
        self.stopped: tuple[str, str] | None = None
        self._response = ""
        self._chosen = False  # whether the first candidate came
        self._spare: list[Chunk] = []  # chunks of another one, used only if the first one never comes
        self._reason = ""
        self._came = False
        self._partial = PartialCalls()

    def error_in(self, value: Mapping[str, Any], name: str) -> Any:
        """Return the error that a value is or holds, or None."""
        chunk = _chunk_of(value)
        if value.get("error") or name == "error" or not any(field in chunk for field in _OURS):
            return embedded_errors.error_in(value, name)
        return None

    def feed(self, value: Mapping[str, Any], name: str) -> Iterator[Chunk]:
        chunk = _chunk_of(value)
        if not any(field in chunk for field in _OURS):
            return
        self.begun = True
        about = self._about(chunk)
        candidates = {
            number if (index := position(candidate.get("index"))) is None else index: candidate
            for number, candidate in enumerate(_mappings(chunk.get("candidates")))
        }
        if not candidates:
            yield about
            return
        first = min(candidates)
        if first and not self._chosen:
            self._spare.append({**about, "candidates": [self._candidate(candidates[first], PartialCalls())]})
            about = {**about, "candidates": []}
        elif not first:
            self._chosen = True
            about = {**about, "candidates": [self._candidate(candidates[first], self._partial)]}
            self._notice(about["candidates"][0], candidates[first])
        yield about

    def end(self, *, told: bool) -> Iterator[Chunk]:
        """Yield what is left; `told` says that the server marked the end, so the answer is whole without a reason."""
        if self._spare and not self._chosen:
            yield from self._spare
        elif told and self._came and not self._reason:
            yield {"candidates": [self._candidate({"finishReason": "STOP"}, self._partial)]}

    def _about(self, chunk: Mapping[str, Any]) -> Chunk:
        self._response = self._response or words(chunk.get("responseId"))
        model, feedback = chunk.get("modelVersion"), chunk.get("promptFeedback")
        about: Chunk = {"responseId": self._response} if self._response else {}
        if isinstance(model, str) and model:
            about["modelVersion"] = model
        if isinstance(feedback, Mapping) and isinstance(feedback.get("blockReason"), str):
            reason, message = feedback["blockReason"], words(feedback.get("blockReasonMessage"))
            about["promptFeedback"] = {"blockReason": reason, **({"blockReasonMessage": message} if message else {})}
        usage = _usage(chunk.get("usageMetadata"))
        return {**about, "usageMetadata": usage} if usage else about

    def _candidate(self, candidate: Mapping[str, Any], partial: PartialCalls) -> Chunk:
        content = candidate.get("content")
        parts = [{"text": content}] if isinstance(content, str) else _mappings(_mapping(content).get("parts"))
        reason = finish_reasons.word_of(candidate.get("finishReason"))
        made = [made_part for part in parts if (made_part := _part(_joined(part, partial)))]
        if reason and finish_reasons.kind_of(reason) != base.LENGTH:  # what was cut is never completed
            made += [_part(_of_call(*ended)) for ended in partial.rest()]
        about: Chunk = {"index": 0, "content": {"role": "model", "parts": made}} if made else {"index": 0}
        return {**about, "finishReason": reason} if reason else about

    def _notice(self, made: Chunk, candidate: Mapping[str, Any]) -> None:
        self._came = self._came or "content" in made
        reason, message = made.get("finishReason", ""), words(candidate.get("finishMessage")).strip()
        self._reason = reason or self._reason
        if message and finish_reasons.kind_of(reason) in _EXPLAINED:
            del made["finishReason"]
            self.stopped = (reason, message)


def _chunk_of(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the chunk in a value: some of Google's own servers put it into an envelope."""
    inner = value.get("response")
    held = isinstance(inner, Mapping) and any(field in inner for field in _OURS)
    return inner if held and isinstance(inner, Mapping) else value


def _joined(part: Mapping[str, Any], partial: PartialCalls) -> Mapping[str, Any]:
    """Return a part with a whole call in place of the last piece of one; without the call while more is to come."""
    name = next((name for name in _CALLS if isinstance(part.get(name), Mapping)), None)
    if name is None:
        return part
    signature = next((part[name] for name in _SIGNATURES if part.get(name)), None)
    call, signature = partial.feed(part[name], signature)
    others = {field: value for field, value in part.items() if field not in (*_CALLS, *_SIGNATURES)}
    return {**others, **_of_call(call, signature)} if call is not None else others


def _of_call(call: Mapping[str, Any], signature: Any) -> Chunk:
    return {"functionCall": call, **({"thoughtSignature": signature} if signature else {})}


def _part(part: Mapping[str, Any]) -> Chunk:
    """Return a part as the package takes it; empty for one that nobody knows."""
    made: Chunk = {}
    if part.get("text") is not None:
        made["text"] = words(part["text"])
    call = next((part[name] for name in _CALLS if isinstance(part.get(name), Mapping)), None)
    if call is not None:
        made["functionCall"] = _call(call)
    made.update({name: part[name] for name in _OTHER_PARTS if isinstance(part.get(name), Mapping)})
    if not made and not part.get("thoughtSignature"):
        return {}
    if part.get("thought") is True:
        made["thought"] = True
    signature = part.get("thoughtSignature") or part.get("thought_signature")
    if isinstance(signature, str) and _is_base64(signature):
        made["thoughtSignature"] = signature
    return made if set(made) != {"thoughtSignature"} else {"text": "", **made}


def _call(call: Mapping[str, Any]) -> Chunk:
    name, given = words(call.get("name")).strip(), call.get("args")
    if not name:
        raise Unreadable(f"a call without a name: {json.dumps(dict(call), ensure_ascii=False, default=str)}")
    if isinstance(given, str):
        try:
            given = json.loads(given, strict=False) if given.strip() else {}
        except (ValueError, RecursionError):
            pass  # told below
    if given is not None and not isinstance(given, Mapping):
        shown = json.dumps(given, ensure_ascii=False, default=str)
        raise Unreadable(f"a call of {name} whose arguments are no object: {shown}")
    identity = words(call.get("id"))
    return {"name": name, "args": given or {}, **({"id": identity} if identity else {})}


def _usage(usage: Any) -> dict[str, int]:
    counts = {}
    for name, value in _mapping(usage).items():
        number = finite(value)
        if name.endswith("TokenCount") and number is not None and number >= 0:
            counts[name] = int(number)
    taken, total = counts.get("promptTokenCount", 0), counts.get("totalTokenCount", 0)
    if "candidatesTokenCount" not in counts and total > taken:
        counts["candidatesTokenCount"] = max(0, total - taken - sum(counts.get(name, 0) for name in _REST))
    return counts


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return False
    return True


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a list, also where a server leaves it out around its only member."""
    held = [value] if isinstance(value, Mapping) else value if isinstance(value, list) else []
    return [item for item in held if isinstance(item, Mapping)]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
