"""This module separates thoughts that a server leaves in the answer's text, between tags before the answer. Pure.

A tag can be cut anywhere, so a possible beginning of one is held back until the rest is known. An opening tag counts
only at the beginning of an answer. A closing tag alone ends a thought that the server's template has opened.
Tags such as <analysis> may also be the form of an answer: they count only if they are closed, something follows them,
and no thought has come otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# Opening tag -> closing tag, in lower case. Tags such as <think> and <seed:think> are found by `_OPEN`.
TAGS: Final = {
    "[think]": "[/think]",
    "◁think▷": "◁/think▷",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|start_thinking|>": "<|end_thinking|>",
    "<|think|>": "<|/think|>",
    "<|thinking|>": "<|/thinking|>",
    "<|begin_of_thinking|>": "<|end_of_thinking|>",
    "<|start_of_thought|>": "<|end_of_thought|>",
    "<|inner_prefix|>": "<|inner_suffix|>",
    "<|channel>thought": "<channel|>",
    "<\uff5cbegin▁of▁thinking\uff5c>": "<\uff5cend▁of▁thinking\uff5c>",
    "<unused94>thought": "<unused95>",
    "<|channel|>analysis<|message|>": "<|end|>",
    "<|channel|>commentary<|message|>": "<|end|>",
    "<|start|>assistant<|channel|>analysis<|message|>": "<|end|>",
}
# Marks that a template puts before the answer itself.
MARKS: Final = (
    "<|start|>assistant<|channel|>final<|message|>",
    "<|channel|>final<|message|>",
    *(
        f"{role}<|channel|>final{blank}<|constrain|>json<|message|>"
        for role in ("", "<|start|>assistant")
        for blank in ("", " ")
    ),
    "<|begin_of_solution|>",
    "<|start_response|>",
)
# Marks that it puts after the answer, if one of the former was seen.
ENDS: Final = ("<|return|>", "<|end|>", "<|end_of_solution|>", "<|end_response|>")
_THINK: Final = ("think", "thinking")  # no answer begins with these tags
_NAMES: Final = (*_THINK, "thought", "thoughts", "reasoning", "reason")
_WORDS: Final = (
    *("reflection", "analysis", "scratchpad", "reasoning_scratchpad", "inner_monologue", "chain_of_thought"),
    "antthinking",
)
_NAME: Final = (
    rf"(?:[a-z0-9.]+[:_])?(?:{'|'.join(_NAMES)})|(?:[a-z0-9.]+:)?(?:{'|'.join(_WORDS)})|think_never_used_[0-9a-f]+"
)
_OPEN: Final = re.compile(rf"<({_NAME})(?:\s(?:[^<>]{{0,199}}[^<>/])?)?>")
_NOTHING: Final = re.compile(rf"<(?:{'|'.join(_THINK)})\s*/>")  # a thought that was left out
# What may be the beginning of such a tag.
_OPENS: Final = re.compile(rf"<[a-z0-9.:_]{{0,60}}\s*/?|<(?:{_NAME})\s[^<>]{{0,200}}")
# A token of a chat template that ends the answer, where a server has left it in the text; or its beginning.
_END_TOKEN: Final = re.compile(
    r"(?:<\|(?:im_end|eot_id|eom_id|endoftext|end_of_text|end|eos|END_RESPONSE|END_OF_TURN_TOKEN)\|>"
    r"|<\uff5cend\u2581of\u2581sentence\uff5c>)\s*\Z"
)
_TOKEN: Final = re.compile(r"<(?:[|\uff5c](?:[\w\u2581]{0,24}(?:[|\uff5c](?:>\s*)?)?)?)?\Z")
_CODE: Final = re.compile(r"`[^`]*`")
# Closing tags that may stand alone, and the tags that open them.
_ALONE: Final = {
    **{close: tag for tag, close in TAGS.items() if close != "<|end|>"},
    **{f"</{name}>": f"<{name}>" for name in (*_NAMES, "seed:think")},
}

_NEXT_PARTS: Final = ("<|start|>assistant<|channel|>final", "<|channel|>final")
_NEXT_PART: Final = re.compile("(?=" + "|".join(map(re.escape, _NEXT_PARTS)) + ")")

START, THOUGHT, BETWEEN, ANSWER = "start", "thought", "between", "answer"


@dataclass(frozen=True)
class TextPiece:
    """A piece of a thought or of the answer; `undo` says that everything given as the answer so far was a thought."""

    text: str
    thought: bool = False
    undo: bool = False


class Splitter:
    """Separate thoughts and answer piece by piece; `prefix` is all text before the answer, as the model wrote it."""

    def __init__(self) -> None:
        self._state = START
        self._buffer = ""
        self._name = ""  # of the tag that opened the last thought; empty for one of TAGS
        self._close = ""
        self._opened_at = 0  # where in the prefix that tag begins
        self._nested = 0  # tags of that name that were opened within the thought, and not closed yet
        self._marked = False
        self._answer = ""
        self.prefix = ""
        self.separate_thoughts = False  # thoughts came in a field of their own, so no text before a closing tag is one

    def feed(self, text: str) -> list[TextPiece]:
        self._buffer += text
        return self._split(last=False)

    def flush(self) -> list[TextPiece]:
        """Return the text that was held back, as nothing more comes that could complete a tag."""
        return self._split(last=True)

    def give_back(self) -> list[TextPiece]:
        """Return thoughts as the answer if nothing follows them, and their tags may be the form of an answer."""
        if self._state != BETWEEN or not self._may_be_answer():
            return []
        text, self.prefix, self._opened_at, self._state = self.prefix, "", 0, ANSWER
        return [TextPiece(text)]

    def _may_be_answer(self) -> bool:
        return bool(self._name) and not _is_think(self._name)

    def _split(self, *, last: bool) -> list[TextPiece]:
        found: list[TextPiece] = []
        readers = {START: self._start, THOUGHT: self._thought, BETWEEN: self._between, ANSWER: self._answer_text}
        while True:
            state, held = self._state, self._buffer
            found += readers[state](last)
            if (state, held) == (self._state, self._buffer):
                return [piece for piece in found if piece.text or piece.undo]

    def _start(self, last: bool) -> list[TextPiece]:
        """Read the beginning, or the text after a thought, where another thought may follow."""
        stripped = self._buffer.lstrip()
        low = stripped.lower()
        blanks = self._buffer[: len(self._buffer) - len(stripped)]
        opening = next((tag for tag in sorted(TAGS, key=len, reverse=True) if low.startswith(tag)), None)
        if opening == "[think]" and not stripped.startswith(opening.upper()):
            opening = None  # in small letters it is a word of the answer
        mark = next((mark for mark in MARKS if low.startswith(mark)), None)
        tags = (*TAGS, *MARKS)
        if not last and (_OPENS.fullmatch(low) or any(tag.startswith(low) and tag != low for tag in tags)):
            return []  # only blanks, or the beginning of a tag, perhaps of a longer one
        named, nothing = _OPEN.match(low), _NOTHING.match(low)
        if nothing:
            self._take_prefix(len(blanks) + nothing.end())
            self._state = BETWEEN
        elif named and (_is_think(named[1]) or self._no_other_thoughts()):
            self._opened_at, self._name = len(self.prefix) + (len(blanks) if self.prefix else 0), named[1]
            self._take_prefix(len(blanks) + named.end())
            self._close, self._state = f"</{named[1]}>", THOUGHT
        elif opening:
            self._opened_at, self._name = len(self.prefix), ""
            self._take_prefix(len(blanks) + len(opening))
            self._close, self._state = TAGS[opening], THOUGHT
            self._marked = self._marked or opening.startswith("<|")
        elif mark:
            self._take_prefix(len(blanks) + len(mark))
            self._state, self._marked = BETWEEN, True
        else:
            self._state = ANSWER
        return []

    def _thought(self, last: bool) -> list[TextPiece]:
        low = self._buffer.lower()
        next_part = _NEXT_PART.search(low) if self._close == "<|end|>" else None  # which ends a thought as well
        end = _closing(self._close).search(low)
        end = next_part if next_part and (end is None or next_part.start() < end.start()) else end
        if end:
            thought = self._buffer[: end.start()]
            self._take_prefix(end.end())
            self._nested = _count(f"<{self._name}>", self.prefix[self._opened_at :]) - 1 if self._name else 0
            self._state = BETWEEN
            return [TextPiece(thought, thought=True)]
        ends = (self._close, *_NEXT_PARTS) if self._close == "<|end|>" else (self._close,)
        keep = 0 if last else _open_end(self._buffer, ends)
        thought = self._take_prefix(len(self._buffer) - keep)
        return [TextPiece(thought, thought=True), *(self._never_closed() if last else ())]

    def _never_closed(self) -> list[TextPiece]:
        """Return the text of the answer in a thought without its end: all of it, or what follows a similar tag."""
        at: int | None = self._opened_at if self._may_be_answer() else None
        for name in _THINK if self._name in _THINK else ():
            other = _closing(f"</{name}>").search(self.prefix.lower(), self._opened_at)
            if other and not _count(f"<{name}>", self.prefix[self._opened_at : other.start()]):
                blanks = re.compile(r"\s*").match(self.prefix, other.end())
                at = blanks.end() if blanks else other.end()
        if at is None:
            return []
        text, self.prefix, self._state = self.prefix[at:], self.prefix[:at], ANSWER
        return [TextPiece(text)]

    def _between(self, last: bool) -> list[TextPiece]:
        """Skip blanks between a thought and the answer, which belong to neither."""
        stripped = self._buffer.lstrip()
        if not stripped:
            self._take_prefix(len(self._buffer))
            return []
        if self._name:  # some servers close a thought twice
            again = _closing(self._close).match(stripped.lower())
            if again:
                self._nested = max(0, self._nested - 1)
                self._take_prefix(len(self._buffer) - len(stripped) + again.end())
                return []
            if not last and _open_end(stripped, (self._close,)) == len(stripped):
                return []
        self._start(last)
        if self._state == ANSWER:
            self._take_prefix(len(self._buffer) - len(stripped))
        return []

    def _answer_text(self, last: bool) -> list[TextPiece]:
        if not self.prefix:
            alone = self._end_alone()
            if alone is not None:
                return alone
        if self._nested:
            nested = self._end_nested()
            if nested is not None:
                return nested
        watched = ENDS if self._marked else () if self.prefix else tuple(_ALONE)
        watched += (self._close,) if self._nested else ()
        keep = 0 if last else _open_end(self._buffer, watched)
        token = _TOKEN.search(self._buffer)
        if last:
            self._buffer = _END_TOKEN.sub("", self._buffer)
        elif token:
            keep = max(keep, len(self._buffer) - token.start())
        text, self._buffer = self._buffer[: len(self._buffer) - keep], self._buffer[len(self._buffer) - keep :]
        if self._marked:
            for end in ENDS:
                text = text.replace(end, "")
        if not self.prefix or self._nested:
            self._answer += text
        return [TextPiece(text)]

    def _end_nested(self) -> list[TextPiece] | None:
        """Find the end of a thought that held its own tags: what seemed to be the answer was a part of it."""
        for found in _closing(self._close).finditer(self._buffer.lower()):
            before = self._answer + self._buffer[: found.start()]
            if before.count("`") % 2 or _count(f"<{self._name}>", before) > _count(self._close, before):
                continue
            self.prefix, self._answer = self.prefix + self._answer, ""
            self._take_prefix(found.end())
            self._nested -= 1
            self._state = BETWEEN
            return [TextPiece("", undo=True), TextPiece(before, thought=True)]
        return None

    def _no_other_thoughts(self) -> bool:
        return not self.separate_thoughts and (not self.prefix or self._may_be_answer())

    def _end_alone(self) -> list[TextPiece] | None:
        """Find the end of a thought that had no beginning.

        A closing tag inside code is none, nor is one in a text that mentions the opening tag.
        """
        low = self._buffer.lower()
        found = [(low.find(close), close) for close in _ALONE if close in low]
        if not found:
            return None
        at, close = min(found)
        before = self._answer + self._buffer[:at]
        if before.count("`") % 2 or _ALONE[close] in before.lower():
            return None
        if self.separate_thoughts and before.strip():
            return None
        self.prefix, self._answer = self._answer, ""
        self._take_prefix(at + len(close))
        self._state = BETWEEN
        return [TextPiece("", undo=True), TextPiece(before, thought=True)]

    def _take_prefix(self, length: int) -> str:
        """Remove `length` characters that are not part of the answer, and keep them in the prefix."""
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        self.prefix += taken
        return taken


def _is_think(name: str) -> bool:
    return re.split("[:_.]", name)[-1] in _THINK or name.startswith("think_never_used_")


def _closing(close: str) -> re.Pattern[str]:
    """Return the pattern of a closing tag; blanks may stand before the mark that ends it: </think >."""
    return re.compile(rf"{re.escape(close[:-1])}\s*{re.escape(close[-1])}")


def _count(tag: str, text: str) -> int:
    """Return how often a tag stands in a text, outside of code."""
    return len(_closing(tag).findall(_CODE.sub("", text.lower())))


def _open_end(text: str, tags: tuple[str, ...]) -> int:
    """Return how many characters at the end of `text` may be the beginning of one of the tags, with blanks in it."""
    low = text[-64:].lower()
    bare = low.rstrip()
    for length in range(min(len(bare), max((len(tag) for tag in tags), default=1) - 1), 0, -1):
        ending = bare[-length:]
        if any(tag.startswith(ending) and (bare == low or tag[:-1] == ending) for tag in tags):
            return length + len(low) - len(bare)
    return 0
