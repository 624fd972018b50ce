"""Output on terminals that have less than UTF-8, and text that must not take a terminal over."""

from __future__ import annotations

import io

import pytest

from kubiya_worker.cli.terminal import clean, one_line, tolerate, truncate


@pytest.mark.parametrize("errors", ["strict", "backslashreplace", "surrogateescape"])
@pytest.mark.parametrize(
    ("encoding", "wanted"), [("ascii", "a ... - > ok ?"), ("latin-1", "a ... · > ok ?"), ("utf-8", "a … · ▸ ✓ 日")]
)
def test_a_stream_shows_what_it_has(encoding: str, wanted: str, errors: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors=errors)
    tolerate(stream)
    stream.write("a … · ▸ ✓ 日")
    stream.flush()
    assert raw.getvalue().decode(encoding) == wanted


def test_control_sequences_and_direction_marks_are_not_obeyed() -> None:
    assert clean("\x1b[31mred\x1b[0m \x1b]0;title\x07\x9b2J\x08x") == "red 2Jx"
    assert clean("safe\u202etxt.exe") == "safe\ufffdtxt.exe"
    assert clean("over\rwritten") == "over\nwritten"


def test_widths_are_columns() -> None:
    assert truncate("日本語", 4) == "日…"
    assert truncate("abc", 3) == "abc"
    assert truncate("abcd", 3) == "ab…"
    assert truncate("abcd", 0) == "…"
    assert one_line("a\n\n  b\tc", 10) == "a b c"
