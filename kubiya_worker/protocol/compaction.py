"""This module shortens long conversations for the model by a summary of their beginning; the whole text is kept.

A summary is a message of the conversation like any other (so it is transported, digested and kept like them):

    {role: "system", content, message_id, timestamp, keeps_from: id of the first message that it does not stand for,
     wishes: texts of the people's messages that it stands for, word for word,
     pins: the facts that the agent has pinned until then, word for word}

The agent pins a fact by a line of its text that begins with `Pinned:`. What a tool returns pins nothing: it is data.

The newest one counts. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kubiya_worker.protocol import messages as m

KEEPS_FROM: Final = "keeps_from"
WISHES: Final = "wishes"
PINS: Final = "pins"
PINS_HEAD: Final = (
    "[Facts that were pinned, word for word; a line of yours that begins with `Pinned:` is kept like them]"
)
PIN: Final = re.compile(
    r"^[ \t]*(?:[-*] +)?(?:\*\*)?pinned:(?:\*\*)?[ \t]*(\S.*?)[ \t]*$", re.IGNORECASE | re.MULTILINE
)
WISHES_HEAD: Final = "[What the person wrote until then, word for word]"
WISHES_END: Final = "[The summary itself]"
WORKER: Final = "Kubiya Worker"  # the `user_name` of what no person wrote
KEPT: Final = 4  # a quarter of the messages for the model stays word for word
HEAD: Final = "[Summary of the conversation so far; the messages themselves are left out]"
SHARE: Final = {"tool": 3_000}  # characters of one message in the text to be summarised
SHARE_OF_OTHERS: Final = 20_000

# A value of `compact_at`: the window is unknown, so only the provider's refusal starts a summary.
OVERFLOW_ONLY: Final = -1


def threshold(configured: Any, window: int | None) -> int:
    """Return `compact_at` for an agent whose configuration has `compaction: false`, `{at_tokens}` or nothing.

    0 means never, OVERFLOW_ONLY when the provider refuses, else tokens. `window` is the model's. Raises ValueError for
    an invalid value.
    """
    if configured is False:
        return 0
    if configured in (None, True):
        return window * 3 // 4 if window else OVERFLOW_ONLY
    tokens = (
        configured.get("at_tokens") if isinstance(configured, Mapping) and set(configured) == {"at_tokens"} else None
    )
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens <= 0:
        raise ValueError(f'compaction is false or {{"at_tokens": <number>}}, not {configured!r}')
    return tokens


def is_summary(message: m.Message) -> bool:
    return KEEPS_FROM in message


def for_model(messages: Sequence[m.Message]) -> list[m.Message]:
    """Return the messages for the model; a summary whose place is not found is ignored."""
    unsummarized = [x for x in messages if not is_summary(x)]
    places = {x["message_id"]: at for at, x in enumerate(unsummarized)}
    summary = next((x for x in reversed(messages) if is_summary(x) and x[KEEPS_FROM] in places), None)
    if summary is None:
        return unsummarized
    rest = unsummarized[places[summary[KEEPS_FROM]] :]
    text = "\n\n".join((HEAD, *_word_for_word(summary), str(summary["content"])))
    if rest[0]["role"] == "user":  # some providers want the roles to alternate
        return [{**rest[0], "content": f"{text}\n\n[End of the summary]\n\n{rest[0]['content']}"}, *rest[1:]]
    return [{"role": "user", "content": text, "message_id": summary["message_id"]}, *rest]


def _word_for_word(summary: m.Message) -> list[str]:
    wishes, pins = summary.get(WISHES), summary.get(PINS)
    lines = [WISHES_HEAD, *wishes] if wishes else []
    lines += [PINS_HEAD, *(f"- {fact}" for fact in pins)] if pins is not None else []
    return [*lines, WISHES_END] if lines else []


def wishes(messages: Sequence[m.Message], keeps_from: str) -> list[str]:
    """Return what people wrote before `keeps_from`, from their first request on. The last summary has the oldest."""
    earlier, new = _replaced(messages, keeps_from, WISHES)
    texts = [str(x["content"]) for x in new if x["role"] == "user" and x.get("user_name") != WORKER]
    return [*earlier, *filter(None, texts)]


def pins(messages: Sequence[m.Message], keeps_from: str) -> list[str]:
    """Return the facts that the agent pinned before `keeps_from`, each once, the oldest first."""
    earlier, new = _replaced(messages, keeps_from, PINS)
    texts = [fact for x in new if x["role"] == "assistant" for fact in PIN.findall(str(x.get("content") or ""))]
    return list(dict.fromkeys([*earlier, *texts]))


def _replaced(messages: Sequence[m.Message], keeps_from: str, key: str) -> tuple[list[str], Sequence[m.Message]]:
    """Return what the last summary has under `key`, and the messages after it that a new summary replaces."""
    unsummarized = [x for x in messages if not is_summary(x)]
    places = {x["message_id"]: at for at, x in enumerate(unsummarized)}
    last = next((x for x in reversed(messages) if key in x and x[KEEPS_FROM] in places), None)
    begin = places[last[KEEPS_FROM]] if last else 0
    return (last[key] if last else []), unsummarized[begin : places.get(keeps_from, 0)]


def begins(messages: Sequence[m.Message]) -> int:
    """Return how many messages, from the first, the newest summary replaces: the model does not get them again."""
    places = {x["message_id"]: at for at, x in enumerate(messages) if not is_summary(x)}
    known_places = (places.get(x[KEEPS_FROM]) for x in reversed(messages) if is_summary(x))
    return next((at for at in known_places if at is not None), 0)


def first_kept_id(messages: Sequence[m.Message]) -> str | None:
    """Return the id of the first message that a new summary does not replace; None when nothing can be gained.

    It is later than the end of the last summary, and never between a tool call and its result.
    """
    shown = for_model(messages)
    before = {str(x[KEEPS_FROM]) for x in messages if is_summary(x)}
    left = sum(map(m.size_of, shown)) / KEPT
    chosen: str | None = None
    for message in reversed(shown[1:]):
        if message["message_id"] in before:
            break
        left -= m.size_of(message)
        if chosen is not None and left < 0:
            break
        if message["role"] != "tool":
            chosen = str(message["message_id"])
    return chosen


def covered(messages: Sequence[m.Message], keeps_from: str) -> list[m.Message]:
    """Return the messages that a new summary replaces, including the previous summary."""
    shown = for_model(messages)
    end = next((at for at, x in enumerate(shown) if x["message_id"] == keeps_from), 0)
    return shown[:end]


def as_text(messages: Sequence[m.Message], limit: int) -> str:
    """Return the conversation as a text of about `limit` characters to summarise.

    Long messages are cut in their middle.
    """
    parts = []
    for message in messages:
        role = str(message["role"])
        about = f" {message.get('tool_name')} ({message.get('status')})" if role == "tool" else ""
        lines = [f"## {role}{about}", shortened(str(message.get("content") or ""), SHARE.get(role, SHARE_OF_OTHERS))]
        lines += [f"[calls {x['name']} {shortened(x['arguments'], 1000)}]" for x in message.get("tool_calls") or ()]
        parts.append("\n".join(filter(None, lines)))
    return shortened("\n\n".join(parts), limit)


def shortened(text: str, limit: int) -> str:
    """Return the beginning and the end of a text, and between them how much is left out."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters …]\n{text[-half:]}"
