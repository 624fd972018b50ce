"""Cases of tests/unit/tools/data/leaks.txt, with a secret in them."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

from tests.unit.tools.cases import cases

LEAKS, BENIGN = cases("leaks.txt"), cases("leaks_benign.txt")


def _base64(offset: int, encode: Callable[[bytes], bytes]) -> Callable[[str], str]:
    """Return the form that a secret has inside an encoded text, with `offset` bytes before it and some behind it."""
    return lambda secret: encode(b"u:"[:offset] + secret.encode() + b"~").decode()


def _lower(encoded: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), encoded)


FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "json": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "json_unicode": lambda secret: json.dumps(secret)[1:-1],
    "json_twice": lambda secret: json.dumps(json.dumps(secret)[1:-1])[1:-1],
    "json_slashes": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    "python": lambda secret: repr(secret)[1:-1],
    "python_twice": lambda secret: repr(repr(secret)[1:-1])[1:-1],
    "shell": lambda secret: shlex.quote(f"{secret} ")[1:-2],
    "html": lambda secret: html.escape(secret),
    "html_text": lambda secret: html.escape(secret, quote=False),
    "url": lambda secret: quote(secret, safe=""),
    "url_lower": lambda secret: _lower(quote(secret, safe="")),
    "url_plus": quote_plus,
    "hex": lambda secret: secret.encode().hex(),
    "hex_upper": lambda secret: secret.encode().hex().upper(),
    **{f"base64_{n}": _base64(n, base64.b64encode) for n in range(3)},
    **{f"base64url_{n}": _base64(n, base64.urlsafe_b64encode) for n in range(3)},
}


def filled(case: str, secret: str) -> str:
    """The case with the secret in each of its places."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: FORMS[found[1]](secret), case)
