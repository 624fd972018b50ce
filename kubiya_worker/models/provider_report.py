"""This module reads a provider's report of a failed call: status, headers, and codes and words of any body.

Servers wrap each other's errors: a gateway's body holds the provider's as an object, or as JSON in a text. So a body is
searched in depth, for fields that are known to hold a code, words, or a number. Pure.
"""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

DEEPEST: Final = 8  # the most levels of a body that are searched
LARGEST: Final = 100_000  # characters of one text that are read
MOST: Final = 500  # the most values of a body that are read

_CODES: Final = (
    *("code", "type", "status", "error_type", "errortype", "error_code", "errorcode", "err_code", "reason", "name"),
    *("status_code", "__type", "quotaid", "quota_id", "provider_code"),
)
_WORDS: Final = (
    *("message", "detail", "error", "msg", "error_message", "errormessage", "error_msg", "status_msg"),
    *("description", "title", "errors", "raw", "error_description", "localizedmessage"),
)
_CODE: Final = re.compile(r"[A-Za-z]+(?:_[A-Za-z]+)+")  # words that are a code: {"error": "prompt_too_long"}
_MARKUP: Final = re.compile(r"<\s*(?:!doctype|html|head|body|title|h1|center|div|meta)\b", re.IGNORECASE)
_TITLE: Final = re.compile(r"<(title|h1)\b[^>]*>(.*?)</\1\s*>", re.IGNORECASE | re.DOTALL)
_UNSHOWN: Final = re.compile(r"<(script|style|head)\b.*?(?:</\1\s*>|$)|<!--.*?(?:-->|$)", re.IGNORECASE | re.DOTALL)
_MESSAGE: Final = re.compile(r"<message\b[^>]*>(.*?)</message\s*>", re.IGNORECASE | re.DOTALL)  # of an error in XML
_TAG: Final = re.compile(r"<[^<>]*(?:>|$)")
_DESCRIBED: Final = re.compile(r'error_description="([^"]+)"')  # RFC 6750
_DOCUMENT: Final = re.compile(r"<[A-Za-z!?][^<>]*>.*</[A-Za-z][^<>]*>", re.DOTALL)  # other markup: XML, a piece of HTML
_HTML: Final = re.compile(  # elements in words that are no document
    r"</?(?:a|b|br|center|code|div|em|font|h[1-6]|hr|i|li|p|pre|small|span|strong|table|t[dhr]|u|ul)\b[^<>]*>",
    re.IGNORECASE,
)
_TRACEBACK: Final = "Traceback (most recent call last):"
_LITELLM_CLASSES: Final = re.compile(r"^litellm\.(\w+): (?:\1: )?")
_LITELLM_END: Final = re.compile(r"\.?\s*(?:Received Model Group=|LiteLLM Retried: ).*$")
_LARGEST_HELD: Final = 20_000  # characters of a text in which an object is looked for
_NESTED: Final = 2  # how often such a text may hold another
_PAGE_WORDS: Final = 120  # characters shown of a web page without a title


@dataclass(frozen=True)
class ProviderReport:
    """A failed call; `body` is JSON or text as received, `words` an exception's text when there is no body.

    `in_stream` says that it came inside an answer that had begun with status 200.
    """

    status: int | None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    words: str = ""
    in_stream: bool = False
    codes: frozenset[str] = field(init=False)  # codes in lower case
    params: frozenset[str] = field(init=False)
    texts: tuple[str, ...] = field(init=False)
    numbers: Mapping[str, float] = field(init=False)  # numbers by field name in lower case; the first of each
    fields: Mapping[str, Any] = field(init=False)  # texts and objects by field name in lower case; the first of each
    page: bool = field(init=False)  # whether the body is a web page

    def __post_init__(self) -> None:
        search = _Search()
        body = _read(self.body)
        page = isinstance(body, str) and is_page(body)
        if isinstance(body, str):
            search.add_text(body)
        else:
            search.search(body, "", 0)
        if not search.texts and self.words:
            search.add_text(self.words)
        headers = {str(name).lower(): str(value) for name, value in self.headers.items()}
        described = _DESCRIBED.search(headers.get("www-authenticate", ""))
        if described and not search.texts:
            search.add_text(described[1])
        for name, value in (
            ("headers", headers),
            ("codes", frozenset(search.codes)),
            ("params", frozenset(search.params)),
            ("texts", tuple(search.texts)),
            ("numbers", search.numbers),
            ("fields", search.fields),
            ("page", page),
        ):
            object.__setattr__(self, name, value)

    @property
    def parsed(self) -> Any:
        """Return the body, read as JSON where it is some."""
        return _read(self.body)

    @property
    def summary(self) -> str:
        """Return the words for a person: the first two different texts, else the body itself."""
        chosen: list[str] = []
        for text in map(_without_wrapping, self.texts):
            if len(chosen) < 2 and not any(text in other or other in text for other in chosen):
                chosen.append(text)
        if chosen:
            return ": ".join(chosen)
        body = _read(self.body)
        if not body or isinstance(body, (str, int, float)):
            return "no explanation"
        if isinstance(body, Mapping) and set(body) == {"message", "status"} and not body["message"]:
            return "no explanation"  # Google's package makes this of an empty body
        if _holds_codes_only(body, ""):
            named = sorted(code for code in self.codes if not code.isdecimal() and code != "error")
            return f"no explanation ({', '.join(named)})" if named else "no explanation"
        try:
            return json.dumps(body, ensure_ascii=False, default=str)[:LARGEST]
        except (ValueError, RecursionError):
            return "no explanation that can be read"

    @property
    def code(self) -> str:
        """Return a code that says more than the status; empty when there is none."""
        return next(
            (code for code in sorted(self.codes, key=len, reverse=True) if not code.isdecimal() and "_" in code), ""
        )

    @property
    def text(self) -> str:
        """Return all words in lower case on one line, for decisions that need words."""
        return " ".join(" ".join(self.texts).lower().replace("\u2019", "'").split())


class _Search:
    def __init__(self) -> None:
        self.codes: set[str] = set()
        self.params: set[str] = set()
        self.texts: list[str] = []
        self.numbers: dict[str, float] = {}
        self.fields: dict[str, Any] = {}
        self._values_left = MOST

    def search(self, value: Any, name: str, depth: int) -> None:
        self._values_left -= 1
        if depth > DEEPEST or self._values_left < 0:
            return
        if isinstance(value, Mapping):
            value = _placed(value)
            # Outer values are read before inner ones, so the first of a name is the outermost.
            for key, inner in sorted(value.items(), key=lambda item: isinstance(item[1], (Mapping, list))):
                self.search(inner, str(key).lower(), depth + 1)
            self.fields.setdefault(name, value)
        elif isinstance(value, list):
            for inner in value:
                self.search(inner, name, depth + 1)
        elif isinstance(value, bool) or value is None:
            return
        elif isinstance(value, (int, float)):
            self.numbers.setdefault(name, float(value))
            if name in _CODES:
                self.codes.add(str(value))
        elif isinstance(value, str):
            self._text(value, name, depth)

    def _text(self, value: str, name: str, depth: int) -> None:
        self.fields.setdefault(name, value)
        if name in _CODES and len(value) <= 200:
            self.codes.add(value.strip().lower())
        elif name == "param":
            self.params.add(value.strip().lower())
        elif name in _WORDS:
            if _CODE.fullmatch(value):
                self.codes.add(value.lower())
            inner = _read(value)
            if isinstance(inner, str):
                self.add_text(value)
            else:
                self.search(inner, name, depth + 1)

    def add_text(self, text: str, depth: int = 0) -> None:
        text = text[:LARGEST]
        before, inner = _object_in(text)
        held = _Search()
        if inner is not None and depth < _NESTED:
            held.search(inner, "", depth + DEEPEST // 2)
        if held.texts:
            # A gateway's text around the provider's answer: its codes count, and its words are shown, not its form.
            self.codes |= held.codes
            self.params |= held.params
            for name, number in held.numbers.items():
                self.numbers.setdefault(name, number)
            text = f"{before} {': '.join(held.texts[:2])}"
        text = words_of(text)
        if text and text not in self.texts:
            self.texts.append(text)


def _holds_codes_only(value: Any, name: str, depth: int = 0) -> bool:
    """Return whether an error consists of codes alone, so that its JSON tells a person no more than they do."""
    if isinstance(value, Mapping) and depth < DEEPEST:
        return all(_holds_codes_only(inner, str(key).lower(), depth + 1) for key, inner in value.items())
    return name in _CODES or value in (None, "")


def _object_in(text: str) -> tuple[str, Any]:
    """Return the words before an object in a text, and the object; JSON, or as Python prints it; None without one."""
    at = text.find("{")
    if at <= 0 or len(text) > _LARGEST_HELD:
        return text, None
    try:
        return text[:at].rstrip(), json.JSONDecoder(strict=False).raw_decode(text, at)[0]
    except (ValueError, RecursionError):
        pass
    try:
        return text[:at].rstrip(), ast.literal_eval(text[at : text.rfind("}") + 1])
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text, None


def _placed(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an error of FastAPI's with the place in its words; "Field required" alone helps nobody."""
    place, message = value.get("loc"), value.get("msg")
    if not (isinstance(place, list) and place and isinstance(message, str)):
        return value
    return {**value, "msg": f"{'.'.join(str(part) for part in place if part != 'body')}: {message}".lstrip(": ")}


def _without_wrapping(text: str) -> str:
    """Return a text without what LiteLLM writes around a provider's words: names of classes, retries, groups."""
    return _LITELLM_END.sub("", _LITELLM_CLASSES.sub("", text)).strip() or text


def _read(body: Any) -> Any:
    """Return the JSON in a text, or any other value unchanged."""
    if isinstance(body, bytes):
        body = body.decode("utf-8", "replace")
    if isinstance(body, str) and (body.lstrip()[:1] in ("{", "[", '"') or body.strip() == "null"):
        try:
            return json.loads(body, strict=False)
        except (ValueError, RecursionError):
            return body
    return body


def is_page(text: str) -> bool:
    """Return whether a text is a web page's markup."""
    text = text.removeprefix("\ufeff").lstrip()
    return text[:1] == "<" and _MARKUP.search(text[:2000]) is not None


def words_of(text: str) -> str:
    """Return a text on one line without markup: the title of a web page, or else its first words."""
    text = text.removeprefix("\ufeff").strip()
    before, trace, lines = text.partition(_TRACEBACK)
    if trace:  # the last line says what went wrong
        text = f"{before} {lines.strip().splitlines()[-1] if lines.strip() else ''}".strip()
    text = html.unescape(text) if "&lt;" in text else text
    markup = _MARKUP.search(text[:5000])
    if markup is None and _DOCUMENT.fullmatch(text):
        match = _MESSAGE.search(text)
        words = " ".join(html.unescape(_TAG.sub(" ", match[1] if match else _UNSHOWN.sub(" ", text))).split())
        return f"{words[:_PAGE_WORDS]}…" if len(words) > _PAGE_WORDS else words
    if markup is not None:
        before, page = _UNSHOWN.sub(" ", text[: markup.start()]), text[markup.start() :]
        title = _TITLE.search(page)
        page_words = title.group(2) if title else _UNSHOWN.sub(" ", page)
        page_words = " ".join(html.unescape(_TAG.sub(" ", page_words)).split())
        page_words = page_words if len(page_words) <= _PAGE_WORDS else f"{page_words[:_PAGE_WORDS]}…"
        text = f"{before} a web page: {page_words}" if page_words else f"{before} a web page"
    elif _HTML.search(text):
        text = html.unescape(_HTML.sub(" ", text))
    return " ".join(text.split())
