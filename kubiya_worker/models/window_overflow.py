"""This module finds out whether a request was longer than the model's window, and how large the window is. Pure.

Codes, types and fields of an error decide first, and words only when these say nothing. All errors about tokens look
alike, so the words must name what is too long (the input, the context), and not a rate or the answer.
"""

from __future__ import annotations

import re
from typing import Final

from kubiya_worker.models.provider_report import ProviderReport

SMALLEST, LARGEST = 512, 20_000_000  # tokens; a number outside of these cannot be a window

# Codes and types without their separators.
_CODES: Final = re.compile(
    r"context(length|window|size|limit)s?exceeded|exceed(ed|s)?(max(imum)?)?context(length|window|size)"
    r"|contextoverflow|contexttoolong|(prompt|input|request|message|conversation)s?tool(ong|arge)$"
    r"|toomany(input|prompt|context)tokens|max(prompt|input|context)tokensexceeded"
    r"|tokenslimitreached|(input|prompt)tokenlimit|tokenlimitexceeded|contextlengtherror|toomanytokens$"
    r"|(context|prompt|input)(tokens?|length|size|limit|window)s?(limit)?(exceeded|reached|toolong|toolarge)"
    r"|exceeds(max(imum)?)?(context|prompt|input)"
)
_EXACT: Final = frozenset({"3051", "1261"})  # codes of Mistral and Zhipu
# OpenAI's codes; `param` names the field that is too long.
_OUTGROWN: Final = ("string_above_max_length", "array_above_max_length")
_CONVERSATION: Final = re.compile(r"(?:messages|input|prompt)(?:\[\d+\])?(?:\.content(?:\[\d+\])?(?:\.text)?)?")
_WINDOWS: Final = (
    *("n_ctx", "max_model_len", "max_context_length", "context_length", "context_window", "context_size"),
    *("max_prompt_tokens", "max_input_tokens", "max_context_tokens", "max_seq_len", "max_total_tokens", "token_limit"),
    *("max_context_len", "max_prompt_length", "max_input_length", "context_limit"),
)
_USED: Final = (
    *("n_prompt_tokens", "prompt_tokens", "input_tokens", "num_tokens", "n_tokens", "requested_tokens"),
    *("token_count", "prompt_token_count", "input_token_count", "total_tokens", "num_prompt_tokens"),
    *("prompt_length", "input_length"),
)

_ANSWER: Final = re.compile(
    r"`?'?\"?\bmax_?(completion_|new_|output_)?tokens\b`?'?\"?|\bmaxoutputtokens\b|\bmaximum tokens you requested\b"
)
_RATE: Final = re.compile(
    r"\bper[ -_]?(second|minute|min|hour|day|week|month)\b|\b(hourly|daily|weekly|monthly)\b|\b[tr]p[msdh]\b"
    r"|rate[ _-]?limit|quota|billing|credit|balance|budget|too many requests|throttl"
)
_TOO_MUCH_AT_ONCE: Final = re.compile(r"request(?: body)? too large.*?limit:? (\d+).*?requested:? (\d+)")
_CONTEXT: Final = r"context[ _-]?(?:length|window|size|limit|capacity|budget)"
_MORE: Final = (
    r"(?:exceed\w*|too (?:long|large|big|many|small)|(?:longer|larger|greater|bigger|more) than|over the|beyond"
    r"|only|not enough|insufficient|(?:does not|doesn't|do not|cannot|can't) fit|overflow\w*|out of|surpass\w*"
    r"|reached|is full|> ?\d)"
)
_INPUT: Final = (
    r"(?:prompt|inputs?|requests?|requested|messages?|conversation|history|sequence|query|text|context|payload"
    r"|total tokens?|number of tokens|token count)"
)
_BOUND: Final = r"(?:(?:must|should|can|may)(?:not)? (?:be|have) (?:<|less|fewer|at most|no more|shorter|below|\[\d))"
_WORDS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_CONTEXT}.*{_MORE}|{_MORE}.*{_CONTEXT}",
        r"max(?:imum)?[ _](?:supported )?(?:context|prompt|input|model|sequence)[ _]"
        r"(?:length|size|tokens|len|characters)\b[^.]{0,30}?\d",
        r"\bexpected max_?length: ?\d+, actual: ?\d+",
        r"\bmax(?:imum)? length of (?:the )?(?:current )?(?:question|prompt|input)",
        rf"\b{_INPUT}\b.{{0,40}}\btokens?\b.{{0,40}}(?:(?:does not|doesn't|do not|cannot|can't) fit|only \d+ fit)",
        r"(?:at most|no more than|up to) \d[\d,]* tokens\b.{0,60}\b(?:context|messages|prompt|inputs?)\b",
        r"context shift is disabled|\bcontext overflow\b",
        rf"\b{_INPUT}\b.{{0,60}}\b(?:past|beyond|above|over)\b.{{0,40}}\bcontext\b|\btoken count\b.{{0,40}}{_MORE}",
        rf"\b{_INPUT}\b.{{0,80}}?\b(?:{_MORE}|{_BOUND}).{{0,80}}?(?:token|length|context|window|characters)",
        rf"(?:token|length).{{0,60}}?\b{_INPUT}\b.{{0,60}}?(?:{_MORE}|{_BOUND})",
        rf"\b(?:input|prompt|sequence)s?`? (?:length|tokens?|size)\b.{{0,60}}?(?:{_MORE}|{_BOUND})",
        rf"\b(?:input|prompt)s? \+ {{0,2}}(?:\S+ )?{_MORE}",
        rf"`?inputs`? tokens? \+ .{{0,20}}?{_BOUND}",
        r"\b(?:prompt|input|conversation|context|history|(?<!stop )sequence) (?:is|are|was|were)? ?"
        r"too (?:long|large|big)",
        r"\btoo many (?:input |prompt )?tokens\b",
        r"reduce (?:the )?(?:length|size|number of tokens) (?:of|in) (?:the |your )?(?:messages|prompt|input|conv)",
        r"context_?length_?exceeded|context_?window_?exceeded|exceed_context_size|contextwindowexceeded",
        r"(?:上下文|输入|提示词|对话|会话|prompt).{0,20}(?:超过|超出|超长|过长)",
    )
)
_MEDIA: Final = re.compile(r"\b(images?|audio|video|file|attachment|pdf)\b")
# Two counts of tokens in an error that does not speak of the answer: the larger one is what was sent.
_OF_ANSWER: Final = re.compile(
    r"\b(?:output|completions?|generat\w*|answer|response|thinking|reasoning|budget\w*|max_?(?:\w+_)?tokens)\b"
)
_COUNT: Final = re.compile(r"(?<![\w.:-])(?<![A-Za-z]/)(\d{1,3}(?:[,_]\d{3})+|\d+)(?![\w.:-]*\w)")
_TOKENS: Final = re.compile(r"tokens?\b|\bsequence length\b|\bmax_\w+")
_TOO_LARGE_ANSWER: Final = re.compile(r"too large: (\d+)\b.*?context length is (\d+)")

# "the prompt has 9000 tokens but the context window holds 4096"
_BOTH: Final = re.compile(
    rf"\b(?:prompt|inputs?|messages?|conversation) (?:has|have|is|are|of|with|holds?) (\d+)\b.{{0,40}}?{_CONTEXT}"
    r" (?:holds|has|is|of|takes|allows)(?: only)? (\d+)\b"
)

_NO_WINDOW: Final = re.compile(r"\bby \d+|max_?(?:completion_|new_|output_)?tokens\W{0,3} is too large: \d+")
_NUMBER: Final = r"(\d[\d,_]*)(?: ?(k)\b)?"
_NAMED: Final = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\bn_ctx\W{{1,3}}{_NUMBER}",
        rf"(?:limit|window|length) ?\({_NUMBER}\)",
        rf"{_NUMBER}[ -]tokens? (?:context )?(?:window|limit)\b",
        rf"{_NUMBER} is (?:the|this) model's",
        rf"(?:最大|上限)[^\d]{{0,20}}{_NUMBER}",
        rf"> ?{_NUMBER}",
        rf"\[\d+, ?{_NUMBER}\]",
        rf"(?:maximum|max_?\w*|limit\w*|only|supports|available|allowed"
        rf"|less than|fewer than|at most|<=|longer than|larger than"
        rf"|cannot exceed|exceed(?:s|ed)?)[^\d>]{{0,60}}?{_NUMBER}",
        rf"{_NUMBER} (?:tokens? )?(?:maximum|max|limit)",
        rf"context[ _-]?(?:length|window|size)[^\d]{{0,30}}?{_NUMBER}",
    )
)


def found_in(report: ProviderReport) -> bool:
    """Return whether the error says that the conversation does not fit."""
    if any(_CODES.search(re.sub(r"[^a-z]", "", code)) for code in report.codes) or report.codes & _EXACT:
        return True
    if report.codes & set(_OUTGROWN):
        return any(_CONVERSATION.fullmatch(param) for param in report.params)
    window, used = _first(report, _WINDOWS), _first(report, _USED)
    if window and used and used > window:
        return True
    if report.status == 413 and not _MEDIA.search(report.text):
        return True
    if report.status == 429:  # its words speak of tokens, too, but mean a rate
        return _more_than_the_rate(report.text)
    return named_window(report.text) if report.status not in (401, 402, 403, 404) else False


def named_window(text: str) -> bool:
    """Return whether the words say that the conversation is too long; `text` is in lower case, on one line."""
    if _more_than_the_rate(text):
        return True
    answer = _TOO_LARGE_ANSWER.search(text)
    if answer:
        return int(answer.group(1)) < int(answer.group(2))
    if _RATE.search(text):
        return False
    text = _ANSWER.sub("", text)
    outgrown = _BOTH.search(text)
    if outgrown:
        return int(outgrown.group(1)) > int(outgrown.group(2))
    if _MEDIA.search(text) and "token" not in text:
        return False
    return any(pattern.search(text) for pattern in _WORDS) or _counts(text) is not None


def _counts(text: str) -> tuple[int, int] | None:
    """Return (sent, allowed) when an error about tokens holds just these two counts; None otherwise."""
    if _OF_ANSWER.search(text) or _MEDIA.search(text) or not _TOKENS.search(text):
        return None
    found = {int(re.sub(r"\D", "", number)) for number in _COUNT.findall(text)}
    counts = sorted(count for count in found if SMALLEST <= count <= LARGEST)
    return (counts[1], counts[0]) if len(counts) == 2 else None


def _more_than_the_rate(text: str) -> bool:
    """Return whether this one request exceeds the rate limit by itself: only a shorter one can pass."""
    match = _TOO_MUCH_AT_ONCE.search(text)
    return match is not None and int(match.group(2)) > int(match.group(1))


def window_of(report: ProviderReport) -> int | None:
    """Return the window in tokens that an error names in a field, or else in words."""
    if report.codes & set(_OUTGROWN):
        return None  # its words count characters, or messages
    named = _first(report, _WINDOWS)
    if named is not None and SMALLEST <= named <= LARGEST:
        return int(named)
    text = report.text
    if _RATE.search(text):
        return None
    counts = _counts(text)
    if counts is not None:
        return counts[1]
    text = _NO_WINDOW.sub(" ", text)
    for pattern in _NAMED:
        match = pattern.search(text)
        if match:
            tokens = int(re.sub(r"\D", "", match.group(1))) * (1000 if match.group(2) else 1)
            return tokens if SMALLEST <= tokens <= LARGEST else None
    return None


def _first(report: ProviderReport, names: tuple[str, ...]) -> float | None:
    numbers = {_plain(name): number for name, number in reversed([*report.numbers.items()])}
    return next((numbers[_plain(name)] for name in names if _plain(name) in numbers), None)


def _plain(name: str) -> str:
    """Return a field's name without what differs between ways of writing: maxModelLen, max_model_len."""
    return re.sub(r"[^a-z]", "", name)
