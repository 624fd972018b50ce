"""The forms in which a secret appears: quoted, escaped, URL-encoded, as hex, as base64 at each offset."""

from __future__ import annotations

import base64
import json
import urllib.parse

KEY = 'kby_a/b+c"d\\e f=0é9'
_URL = urllib.parse.quote(KEY, safe="")
FORMS = [
    KEY,
    json.dumps(KEY),
    json.dumps(KEY, ensure_ascii=False),
    json.dumps(json.dumps({"key": KEY})),
    json.dumps({"key": KEY}).replace("/", "\\/"),
    urllib.parse.quote(KEY),
    _URL,
    urllib.parse.quote_plus(KEY),
    _URL.lower(),
    KEY.encode().hex(),
    KEY.encode().hex().upper(),
    *(base64.b64encode(b"x" * n + KEY.encode() + b"y" * m).decode() for n in (0, 1, 2) for m in (0, 1, 2)),
    base64.urlsafe_b64encode(b"Basic " + KEY.encode()).decode(),
]
