"""Changes of a text in pieces are those of the whole text."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kubiya_worker.tools.files import text_change

SMALL = st.binary(max_size=60).map(lambda data: bytes(b"ab\n"[byte % 3] for byte in data))
TEXT = st.binary(min_size=1, max_size=4).map(lambda data: bytes(b"ab\n"[byte % 3] for byte in data))


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@given(SMALL, TEXT, TEXT, st.integers(1, 7))
def test_replacing_in_pieces_is_replacing(data: bytes, old: bytes, new: bytes, size: int) -> None:
    assert b"".join(text_change.replaced(pieces(data, size), old, new)) == data.replace(old, new)
    found = text_change.find(pieces(data, size), old)
    assert found.count == data.count(old)
    assert not found.count or found.first == data.find(old)


@given(SMALL, st.integers(0, 20), st.integers(1, 7))
def test_a_line_ends_where_it_ends(data: bytes, line: int, size: int) -> None:
    lines = data.splitlines(keepends=True)
    expected = len(b"".join(lines[:line])) if line <= len(lines) else None
    assert text_change.end_of_line(pieces(data, size), line) == expected


@given(SMALL, st.data(), st.integers(1, 7))
def test_inserting_in_pieces_is_inserting(data: bytes, draw: st.DataObject, size: int) -> None:
    at = draw.draw(st.integers(0, len(data)))
    assert b"".join(text_change.inserted(pieces(data, size), at, b"XY")) == data[:at] + b"XY" + data[at:]


def test_the_diff_of_a_change_far_into_a_file_has_its_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(1, 5001)))
    handle = os.open(path, os.O_RDONLY)
    try:
        diff = text_change.diff_of(handle, "a", path.read_bytes().index(b"line 4000\n"), b"line 4000\n", b"new\n")
    finally:
        os.close(handle)
    assert "@@ -3997,7 +3997,7 @@" in diff
    assert "-line 4000\n+new\n" in diff and "line 4010" not in diff
