"""The output of a long command is read by positions, whatever of it is kept; what has to stay whole is never cut."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kubiya_worker.tools.long_commands import output

SIZE = 16


def written(folder: Path, *pieces: bytes) -> output.SegmentedOutput:
    made = output.SegmentedOutput(folder, SIZE)
    for piece in pieces:
        made.feed(piece)
    made.close()
    return made


def read_all(folder: Path, limit: int = 7) -> tuple[str, int]:
    at, texts, left_out = 0, [], 0
    while True:
        part = output.read(folder, at, limit, ended=True, size=SIZE)
        texts.append(part.text)
        left_out += part.left_out
        if part.end == at:
            return "".join(texts), left_out
        at = part.end


@given(st.lists(st.text("ab \nü", max_size=40), max_size=6))
def test_reading_on_gives_each_byte_once(tmp_path_factory: object, pieces: list[str]) -> None:
    folder = tmp_path_factory.mktemp("out")  # type: ignore[attr-defined]
    written(folder, *(piece.encode() for piece in pieces))
    assert read_all(folder) == ("".join(pieces), 0)


def test_the_first_and_the_last_are_kept(tmp_path: Path) -> None:
    lines = [f"{number:07d}\n".encode() for number in range(100)]  # two in each file
    made = written(tmp_path, *lines)
    assert made.total_bytes == output.total_bytes(tmp_path, SIZE) == 800
    text, left_out = read_all(tmp_path, 800)
    assert len(list(tmp_path.iterdir())) == output.FIRST + output.LAST
    assert text.startswith("0000000\n") and text.endswith("0000099\n") and len(text) + left_out == 800
    last = output.read(tmp_path, None, 20, ended=True, size=SIZE)
    assert last.text == "0000098\n0000099\n", "whole lines"


def test_an_unfinished_line_waits_until_it_is_whole(tmp_path: Path) -> None:
    written(tmp_path, b"one\nsec")
    part = output.read(tmp_path, 0, 100, ended=False, size=SIZE)
    assert (part.text, part.end, part.total) == ("one\n", 4, 7)
    assert output.read(tmp_path, 4, 100, ended=True, size=SIZE).text == "sec"


def test_a_position_within_a_word_is_taken_back_to_its_beginning(tmp_path: Path) -> None:
    written(tmp_path, b"key s3cretvalue\n")
    assert output.read(tmp_path, 8, 100, ended=True, size=SIZE).text == "s3cretvalue\n"
    assert output.read(tmp_path, 0, 9, ended=False, size=SIZE).text == "key "


def test_a_full_disk_is_counted_and_not_raised(tmp_path: Path) -> None:
    made = output.SegmentedOutput(tmp_path / "missing", SIZE)
    made.feed(b"lost")
    assert (made.total_bytes, made.lost_bytes, made.fault) == (0, 4, "No such file or directory")
