"""This module finds keys in a provider's messages, which may repeat them whole, cut or with stars in the middle.
Pure.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote

MASK: Final = "***"
PIECE: Final = 6  # characters of a key in a row that hardly occur in another word
END: Final = 4  # characters that a provider shows of a key's end

_WORD: Final = re.compile(r"[^\s\"'`,;()<>\[\]{}=|]+(?:={1,2}(?![^\s\"'`,;()<>\[\]{}|]))?")  # "=" ends base64
_SHAPE: Final = re.compile(  # how keys of providers begin
    r"^(?:Bearer:?)?(?:(?:sk|pk|rk|key|gsk|xai|hf|r8|pplx|nvapi|csk|fw|tgp|api|tok|ghp|gho|glpat)[-_]|AIza|AKIA|ASIA|eyJ)",
    re.IGNORECASE,
)
_CUT: Final = re.compile(r"\*{2,}|\.{2,}|…|•+|[xX]{4,}|#{3,}")
_HIDDEN: Final = re.compile(r"[*.…•#]+-?|[xX]{4,}")  # what stands for characters that are not shown
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{12,}")
_URL_SAFE: Final = str.maketrans("-_", "+/")
_HASH: Final = re.compile(r"\b[0-9a-fA-F]{32,}\b")
_PART_OF: Final = re.compile(  # "your key ending in cdef"
    r"(\b(?:end(?:s|ing)?|start(?:s|ing)?|begin(?:s|ning)?|prefix(?:ed)?|suffix(?:ed)?|last \w+ (?:characters|digits))"
    r"\s*(?:in|with|is|are|of|by)?\s*[:=]?\s*)([\"'`]?)([^\s\"'`,;.()]+)",
    re.IGNORECASE,
)


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with each part of one of `secrets`, and each word that looks like a key, masked."""
    # Shorter secrets are skipped: half of all words contain them.
    long_secrets = [secret for secret in secrets if len(secret) >= END]
    for secret in sorted(long_secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    if "key" in text.lower() or "token" in text.lower():
        text = _PART_OF.sub(
            lambda found: f"{found.group(1)}{MASK}" if _ends_it(found.group(3), long_secrets) else found[0], text
        )
    text = _HASH.sub(MASK, text)
    return _WORD.sub(lambda found: MASK if _is_part(found[0], long_secrets) else found[0], text)


def _other_forms(word: str) -> Iterator[str]:
    """Yield what a word says in base64 or percent-encoding."""
    if "%" in word:
        yield unquote(word)
    for found in _BASE64.findall(word):
        text = found.translate(_URL_SAFE)
        with contextlib.suppress(ValueError):
            yield base64.b64decode(text + "=" * (-len(text) % 4)).decode("latin-1")


def _is_part(word: str, secrets: list[str]) -> bool:
    if any(len(s) >= PIECE and s in other for other in _other_forms(word) for s in secrets):
        return True
    stripped = word.strip(".:!?/\\-*…•#")
    if _SHAPE.match(stripped) and len(stripped) >= 8 and re.search(r"[\d*.…•#]|[a-z][A-Z]", stripped):
        return True
    cut = _CUT.search(word)
    if cut and _SHAPE.match(stripped):
        return True
    for secret in secrets:
        if len(secret) >= PIECE and any(secret[at : at + PIECE] in word for at in range(len(secret) - PIECE + 1)):
            return True
        if len(secret) >= 2 * END and stripped in (secret[-END:], secret[:END], secret[-END - 1 :], secret[: END + 1]):
            return True
        if cut and len(secret) >= 2 * END:
            visible_parts = [part for part in _HIDDEN.split(word.rstrip(".:!?")) if len(part) >= 2]
            if any(secret.startswith(part) or secret.endswith(part) for part in visible_parts):
                return True
    return False


def _ends_it(word: str, secrets: list[str]) -> bool:
    """Return whether a word is the beginning or end of a key: one of ours, or an unknown one if it holds a digit."""
    ours = any(secret.endswith(word) or secret.startswith(word) for secret in secrets)
    return ours or (2 < len(word) <= 12 and any(character.isdigit() for character in word))
