"""Find text that looks like an unknown secret: keys of known makers, passwords next to their names. Pure.

This is a second safety net: known secrets are removed by their value (`tools/redaction.py`). It removes too much rather
than too little, but not the numbers, paths and words that are common in metrics and logs.
"""

from __future__ import annotations

import re
from typing import Final

from kubiya_worker.tools.redaction import REDACTED

_MAKES: Final = re.compile(
    r"""
      \b(?: kby_[\w-]{12,}                                   # ours
          | sk-[\w-]{16,} | AIza[\w-]{30,} | gsk_\w{16,}     # models'
          | (?:gh[pousr]_|github_pat_)\w{20,} | glpat-[\w-]{16,}
          | xox[abeoprs]-[\w-]{10,}
          | (?:AKIA|ASIA)[0-9A-Z]{16}
          | eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*                  # a JSON web token
        )
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_USERINFO: Final = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@\"']+(?=@)", re.IGNORECASE)
_SCHEME: Final = re.compile(r"\b(Bearer|Basic|UserKey|Token)(\s+)[\w.~+/=:-]{8,}", re.IGNORECASE)
_NAMED: Final = re.compile(
    r"""
    ([\w.-]*(?:key|token|secret|passw(?:or)?d|passwd|credential|authorization)[\w.-]*   # its name
     \\*["']? \s* [=:] \s* \\*["']?)
    (?! = | \[ | / | ~/ | \./ | \$\{ | true\b | false\b | null\b | none\b | -?[\d.]+(?![\w-]) )
    ([^\s"',;&\\}\]]{6,})
    """,
    re.VERBOSE | re.IGNORECASE,
)


def hide(text: str) -> str:
    """Replace everything in `text` that looks like a secret by "[redacted]"."""
    text = _MAKES.sub(REDACTED, text)
    text = _USERINFO.sub(rf"\g<1>{REDACTED}", text)
    text = _SCHEME.sub(rf"\1\2{REDACTED}", text)
    return _NAMED.sub(rf"\g<1>{REDACTED}", text)
