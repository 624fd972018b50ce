"""This module builds one answer from the chunks of a stream or from one JSON object. Pure.

Whatever the server does with indexes, ids, names, usage and reasons, an `AnswerBuilder` holds: the text, the thoughts,
the calls, the counts, the reason, and the fields that must go back unchanged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from kubiya_worker.models.base import RESET, TEXT, THINKING, THOUGHT, Delta
from kubiya_worker.models.wire import finish_reasons, provider_fields, thinking_tags
from kubiya_worker.models.wire.numbers import position
from kubiya_worker.models.wire.tool_calls import Calls, decoded
from kubiya_worker.models.wire.usage import TokenCounts
from kubiya_worker.protocol.characters import Halves, visible, without_half_surrogates

# Fields that hold a thought as text. The first one with text is shown, since servers repeat the same text in several.
THOUGHT_FIELDS: Final = ("reasoning_content", "reasoning", "thinking", "thought", "reasoning_text")
# Fields of an answer that no request accepts, or that are read here.
KNOWN: Final = frozenset(
    {
        "role",
        "content",
        *("tool_calls", "toolCalls", "tool_call"),
        "function_call",
        "refusal",
        "annotations",
        "citations",
        "audio",
        "images",
        "name",
        "index",
        "usage",
        "obfuscation",
        "logprobs",
        "finish_reason",
        "stop_reason",
        "error",
        "token_ids",
        *THOUGHT_FIELDS,
    }
)
_ENVELOPES: Final = ("data", "response", "result", "output")
_CALLS: Final = ("tool_calls", "toolCalls", "tool_call")
_REASONS: Final = ("finish_reason", "finishReason", "done_reason")


class AnswerBuilder:
    """The answer so far; `feed` takes a chunk and returns the deltas for the reader."""

    def __init__(self, tools: Collection[str] = ()) -> None:
        self.counts = TokenCounts()
        self.calls = Calls(tools)
        self.reason = ""  # the server's own word for why it ended
        self.refusal = ""
        self.model = ""
        self.size = 0  # characters of text, thoughts and calls
        self.told_end = False  # the end mark came, or usage after everything else
        self.went_on = False  # more came after a reason, so this server's reason does not mean the end
        self.fields: provider_fields.Fields = {}
        self._thoughts: dict[str, list[str]] = {}  # pieces of thoughts by field
        self._texts: list[str] = []
        self._text_halves, self._thought_halves = Halves(), Halves()  # half characters at the end of a piece
        self._splitter = thinking_tags.Splitter()
        self._source = ""  # the field from which thoughts are shown
        self._thinking = False
        self._thought_number = 0  # of the thought that is open, or comes next
        self._chosen: int | None = None
        self._spare: AnswerBuilder | None = None  # another choice, used only if the first one never comes

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def prefix(self) -> str:
        """Return the text before the answer in the same field: a thought in tags."""
        return without_half_surrogates(self._splitter.prefix)

    @property
    def is_whole(self) -> bool:
        """Return whether the server has said in any way that nothing more comes."""
        return bool(self.reason) or self.told_end

    @property
    def is_empty(self) -> bool:
        return not visible(self.text) and not self.calls.complete() and not self.refusal

    def feed(self, chunk: Mapping[str, Any]) -> list[Delta]:
        model = chunk.get("model")
        if isinstance(model, str) and model:
            self.model = model
        counted = self.counts.add(chunk)
        before, had_reason = self.size, bool(self.reason)
        deltas: list[Delta] = []
        for number, choice in enumerate(_list_of(chunk.get("choices"))):
            if isinstance(choice, Mapping):
                deltas += self._choice(choice, number)
        grew = self.size > before
        self.went_on = self.went_on or (grew and had_reason)
        # Usage beside a choice is a sum so far; usage alone, after everything else, is the end.
        self.told_end = not grew and (self.told_end or (counted and before > 0 and not chunk.get("choices")))
        return deltas

    def end(self) -> list[Delta]:
        """Return the text that was held back, once nothing more comes."""
        if self._spare is not None and self.is_empty and not self.reason:
            self._take_spare(self._spare)
        deltas = self._split(self._splitter.feed(self._text_halves.flush()) + self._splitter.flush())
        if self.is_empty:
            deltas += self._split(self._splitter.give_back())
        deltas += self._think(self._thought_halves.flush())
        self.fields = provider_fields.finished(
            {**{k: "".join(v) for k, v in self._thoughts.items() if any(v)}, **self.fields}
        )
        return deltas + self._end_thought()

    def _choice(self, choice: Mapping[str, Any], number: int) -> list[Delta]:
        index = position(choice.get("index"))
        index = number if index is None else index
        if index and self._chosen is None:
            # This is not the first choice. Keep it apart: the first one may come later, or never.
            self._spare = self._spare or AnswerBuilder()
            self._spare._chosen = self._spare._chosen if self._spare._chosen is not None else index
            if index == self._spare._chosen:
                self._spare._message(choice)  # its deltas are shown to nobody
            return []
        if self._chosen is None:
            self._chosen = index
        return self._message(choice) if index == self._chosen else []

    def _take_spare(self, spare: AnswerBuilder) -> None:
        spare.end()
        self.calls, self.fields, self.reason = spare.calls, spare.fields, spare.reason
        self.refusal, self._texts = spare.refusal, [spare.text]

    def _message(self, choice: Mapping[str, Any]) -> list[Delta]:
        for name in _REASONS:
            self.reason = finish_reasons.word_of(choice.get(name)) or self.reason
        delta, message = choice.get("delta"), choice.get("message")
        if isinstance(delta, Mapping) and (_says(delta) or not isinstance(message, Mapping)):
            called = {} if _calls_of(delta) else {"tool_calls": _calls_of(choice)}
            return self._read_message({**delta, **called} if called.get("tool_calls") else delta)
        if isinstance(delta, (str, list)):
            return self._content(delta)
        if isinstance(message, Mapping):
            return self._read_message(message, complete=True)
        return self._content(choice.get("text"), complete=True)

    def _read_message(self, message: Mapping[str, Any], *, complete: bool = False) -> list[Delta]:
        """Take a message's fields; `complete` means the whole message, which may repeat what came in pieces."""
        self.size += len(str(message.get("refusal") or ""))
        if isinstance(message.get("refusal"), str):
            self.refusal += without_half_surrogates(message["refusal"])
        deltas: list[Delta] = []
        if not (complete and self.size):
            deltas += self._reasoning(message)
            provider_fields.merge(self.fields, message, KNOWN)
        deltas += self._content(message.get("content"), complete=complete)
        calls = [*_calls_of(message), *_calls_in(message.get("content"))]
        if isinstance(message.get("function_call"), Mapping):
            calls.append({"function": message["function_call"]})
        if calls:
            self.size += self.calls.add(calls, numbered=complete or _unnumbered(calls), repeated=complete)
            deltas += self._end_thought()
        return deltas

    def _reasoning(self, message: Mapping[str, Any]) -> list[Delta]:
        shown = ""
        for name in THOUGHT_FIELDS:
            value = message.get(name)
            if isinstance(value, str):
                self._thoughts.setdefault(name, []).append(value)
                self.size += len(value)
                if value and self._source in ("", name):
                    self._source, shown = name, shown or value
            elif value is not None:
                provider_fields.merge(self.fields, {name: value})
        for name in (provider_fields.BLOCKS, provider_fields.DETAILS):
            text = "".join(_text_of(item) for item in _list(message.get(name)))
            if text and self._source in ("", name):
                self._source, shown = name, shown or text
        self._splitter.separate_thoughts = self._splitter.separate_thoughts or bool(self._source)
        return self._think(self._thought_halves.feed(shown))

    def _content(self, content: Any, *, complete: bool = False) -> list[Delta]:
        if isinstance(content, Mapping):
            return self._part(content)
        if isinstance(content, list):  # a list of parts, some of which may be thoughts
            return [delta for part in content for delta in self._content(part)]
        if isinstance(content, (int, float)) and not isinstance(content, bool):
            content = str(content)
        if not isinstance(content, str) or not content:
            return []
        if complete and self.text and content.startswith(self.text):
            content = content[len(self.text) :]
        self.size += len(content)
        return self._split(self._splitter.feed(self._text_halves.feed(content)))

    def _part(self, part: Mapping[str, Any]) -> list[Delta]:
        if str(part.get("type")) in ("thinking", "reasoning"):
            text = _text_of(part)
            self.size += len(text)
            return self._think(self._thought_halves.feed(text))
        if isinstance(part.get("refusal"), str):
            self.size += len(part["refusal"])
            self.refusal += without_half_surrogates(part["refusal"])
        said = part.get("text")
        return self._content(said.get("value") if isinstance(said, Mapping) else said)

    def _split(self, pieces: list[thinking_tags.TextPiece]) -> list[Delta]:
        deltas: list[Delta] = []
        for piece in pieces:
            if piece.undo:
                self._texts.clear()
                deltas.append(Delta(RESET, ""))
            elif piece.thought:
                deltas += self._think(piece.text)
            elif piece.text:
                self._texts.append(piece.text)
                deltas += [*self._end_thought(), Delta(TEXT, piece.text)]
        return deltas

    def _think(self, text: str) -> list[Delta]:
        if not text:
            return []
        self._thinking = True
        return [Delta(THINKING, text, self._thought_number)]

    def _end_thought(self) -> list[Delta]:
        if not self._thinking:
            return []
        self._thinking = False
        self._thought_number += 1
        blocks = self.fields.get(provider_fields.BLOCKS) or [{}]
        signature = blocks[-1].get("signature") if isinstance(blocks[-1], dict) else ""
        return [Delta(THOUGHT, without_half_surrogates(str(signature or "")), self._thought_number - 1)]


def _text_of(item: Any) -> str:
    """Return the words of a block, a detail or a part, which may itself hold parts."""
    if isinstance(item, str):
        return item
    if not isinstance(item, Mapping):
        return ""
    for name in ("thinking", "text", "summary", "content"):
        value = item.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            return "".join(map(_text_of, value))
    return ""


def _says(delta: Mapping[str, Any]) -> bool:
    """Return whether a delta holds more than a role: some servers send an empty one beside the whole message."""
    return any(value for name, value in delta.items() if name != "role")


def _calls_of(message: Mapping[str, Any]) -> list[Any]:
    """Return the calls of a message, under whichever name it has them."""
    return next(filter(None, (_list_of(decoded(message.get(name))) for name in _CALLS)), [])


def _calls_in(content: Any) -> list[Any]:
    """Return the calls that stand among the parts of a content, as Anthropic's API has them."""
    return [part for part in _list(content) if isinstance(part, Mapping) and part.get("type") == "tool_use"]


def _unnumbered(calls: list[Any]) -> bool:
    """Return whether several calls come at once without an index or an id to tell them apart."""
    return len(calls) > 1 and all(_mapping(c).get("index") is None and not _mapping(c).get("id") for c in calls)


def chunk_of(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of an event that is an answer: some gateways put it into an envelope of their own."""
    if not value.get("choices"):
        for name in _ENVELOPES:
            inner = decoded(value.get(name))
            if isinstance(inner, Mapping) and isinstance(inner.get("choices"), list):
                return {**{key: held for key, held in value.items() if key in ("usage", "model")}, **inner}
        delta, reason = _own_form(value)
        if delta:
            return {**value, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
    return value


def _own_form(value: Mapping[str, Any]) -> tuple[Mapping[str, Any], Any]:
    """Return the piece of an answer, and the reason, of a server that sends a form of its own; empty for all others."""
    message, response, token = value.get("message"), value.get("response"), value.get("token")
    if isinstance(message, Mapping) and "role" in message:  # Ollama
        return message, value.get("done_reason")
    if isinstance(response, str):  # Ollama's generate, Workers AI
        return {"content": response, "tool_calls": value.get("tool_calls")}, value.get("done_reason")
    if isinstance(token, Mapping) and isinstance(token.get("text"), str):  # Text Generation Inference
        text = "" if token.get("special") else token["text"]
        return {"content": text}, _mapping(value.get("details")).get("finish_reason")
    return {}, None


def _list_of(value: Any) -> list[Any]:
    """Return a list, also where a server leaves it out around its only member."""
    return [value] if isinstance(value, Mapping) else _list(value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
