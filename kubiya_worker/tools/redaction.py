"""This module removes secrets from everything that leaves the worker: text, JSON, and streams cut inside a secret.

A secret is looked for as it is and in the forms that tools and protocols give it: JSON-escaped (also twice, as in a
string of JSON inside JSON), as Python, shells and HTML quote it, URL-encoded, hex, and base64 at each of the three
offsets, in both alphabets. The lines of a secret of several lines (a private key) are secrets too. What is not found: a
secret that was encoded in other ways, such as base64 broken into lines or single characters escaped at will.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, Final
from urllib.parse import quote, quote_plus

from kubiya_worker.credentials import SHORTEST

LINE: Final = 16  # characters from which a line of a secret of several lines is a secret itself
REDACTED: Final = "[redacted]"


class Redactor:
    """Replace secrets; immutable and cheap: one `in` per form of each secret, microseconds for a chunk of a message."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms: set[str] = set()
        for secret in secrets:
            for text in _parts(secret):
                forms |= _forms(text)
        self._forms = tuple(sorted(form for form in forms if len(form) >= SHORTEST))
        self._longest = max(map(len, self._forms), default=1)
        self._beginnings = frozenset(form[:length] for form in self._forms for length in range(1, SHORTEST + 1))

    def text(self, text: str) -> str:
        """Return `text` with each run of secrets replaced by "[redacted]"; overlapping ones are one run."""
        spans = self._spans(text)
        return _replaced(text, spans) if spans else text

    def value(self, value: Any) -> Any:
        """Return the value with its texts redacted in dicts (keys too), lists and tuples.

        Other objects stay unchanged.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.value(key): self.value(member) for key, member in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)([self.value(item) for item in value])
        if isinstance(value, (int, float)) and not isinstance(value, bool) and self._spans(str(value)):
            return REDACTED
        return value

    def stream(self) -> RedactedStream:
        return RedactedStream(self)

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """Return the places of secrets as (start, end), in order and without overlap."""
        spans: list[tuple[int, int]] = []
        for form in self._forms:
            if form in text:
                at = text.find(form)
                while at >= 0:
                    spans.append((at, at + len(form)))
                    at = text.find(form, at + 1)
        merged: list[tuple[int, int]] = []
        for start, end in sorted(spans):
            if merged and start < merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return merged

    def _open_end(self, text: str) -> int:
        """Return where the first secret begins that may continue after `text`.

        Return the length of `text` if there is none.
        """
        for at in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[at : at + SHORTEST] in self._beginnings:
                rest = text[at:]
                if any(len(form) > len(rest) and form.startswith(rest) for form in self._forms):
                    return at
        return len(text)


# The redactor of the execution that this task works for: its log lines are without that execution's secrets, too.
AT_WORK: Final[ContextVar[Redactor | None]] = ContextVar("redactor", default=None)


class RedactedStream:
    """Redact a stream: all output joined equals `Redactor.text` of the whole.

    The possible beginning of a secret is held back.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._pending = ""

    def feed(self, chunk: str) -> str:
        """Return the text that can be shown now; may be empty."""
        text = self._pending + chunk
        spans = self._redactor._spans(text)
        cut = self._redactor._open_end(text)
        while spans and spans[-1][1] > cut:  # the held part and the secret before it would be one run
            cut = min(cut, spans.pop()[0])
        self._pending = text[cut:]
        return _replaced(text[:cut], spans)

    def flush(self) -> str:
        """Return the rest, at the end of the stream."""
        text, self._pending = self._pending, ""
        return self._redactor.text(text)


def _replaced(text: str, spans: list[tuple[int, int]]) -> str:
    pieces: list[str] = []
    at = 0
    for start, end in spans:
        pieces += (text[at:start], REDACTED)
        at = end
    pieces.append(text[at:])
    return "".join(pieces)


def _parts(secret: str) -> set[str]:
    """Return the secret without blanks around it, and its longer lines."""
    parts = {secret, secret.strip(), *(line.strip() for line in secret.splitlines() if len(line.strip()) >= LINE)}
    return {part for part in parts if len(part) >= SHORTEST}


def _forms(secret: str) -> set[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    forms = {secret, raw.hex(), raw.hex().upper()}
    for ascii_only in (True, False):
        once = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        twice = json.dumps(once, ensure_ascii=ascii_only)[1:-1]
        forms |= {once, twice, once.replace("/", "\\/"), twice.replace("/", "\\\\/")}
    # As Python shows it in an error or a list, a shell in a command, a page in its text.
    shown = _python(secret)
    forms |= shown.union(*map(_python, shown))
    forms |= {secret.replace("'", "'\"'\"'"), secret.replace("'", "'\\''")}
    page = html.escape(secret, quote=False)
    forms |= {page, page.replace('"', "&quot;"), html.escape(secret)}
    forms.add(page.replace('"', "&#34;").replace("'", "&#39;"))
    for encoded in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        forms |= {encoded, _lower_escapes(encoded)}
    for offset in range(3):
        # The first and last characters share bits with neighbours: use only those that belong to the secret alone.
        first, last = -(-8 * offset // 6), 8 * (offset + len(raw)) // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            forms.add(encode(b"\0" * offset + raw).decode()[first:last])
    return forms


def _python(text: str) -> set[str]:
    """Return the forms that repr gives a text inside others.

    An apostrophe is escaped only if there are double quotes too.
    """
    shown = repr(f"{text}\"'")[1:-4]
    return {shown, shown.replace("\\'", "'")}


def _lower_escapes(encoded: str) -> str:
    head, *rest = encoded.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])
