"""The methods of dataclasses are compiled by the first start, and found on disk by the next ones."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.process.dataclass_code import FORMAT, DataclassCode

SOURCE = """
import dataclasses
@dataclasses.dataclass(frozen=True, order=True)
class Point:
    x: int
    y: list[int] = dataclasses.field(default_factory=list, hash=False)
    z: str = dataclasses.field(default="z", kw_only=True)
"""


def point(code: DataclassCode | None = None, source: str = SOURCE) -> Any:
    scope: dict[str, Any] = {"__name__": __name__}
    if code is None:
        exec(compile(source, "m", "exec", dont_inherit=True), scope)
    else:
        with code.in_use():
            exec(compile(source, "m", "exec", dont_inherit=True), scope)
    return scope["Point"]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    return tmp_path / "home" / "bytecode" / "start"


@pytest.fixture
def kept(file: Path) -> Path:
    file.parents[1].parent.mkdir(exist_ok=True)
    first = DataclassCode(file)
    point(first)
    assert first.compiled
    first.keep()
    return file


def test_a_second_start_compiles_nothing_and_makes_the_same_class(kept: Path) -> None:
    second = DataclassCode(kept)
    ours, plain = point(second), point()
    assert second.compiled == 0
    assert (
        ours.__init__.__annotations__
        == plain.__init__.__annotations__
        == {"x": int, "y": list[int], "z": str} | {"return": None}
    )
    assert ours.__doc__ == plain.__doc__
    assert repr(ours(1, [2])) == repr(plain(1, [2])) == "Point(x=1, y=[2], z='z')"
    assert ours(1) == ours(1) != ours(2) and ours(1) < ours(2) and hash(ours(1)) == hash(plain(1))
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'x'"):
        ours(1).x = 2


def test_a_class_that_has_changed_is_compiled_anew_and_the_old_code_goes(kept: Path) -> None:
    changed = SOURCE.replace("x: int", "first: int")  # each method has its name
    second = DataclassCode(kept)
    assert repr(point(second, changed)(1)) == "Point(first=1, y=[], z='z')"
    assert second.compiled
    second.keep()
    assert point(third := DataclassCode(kept), changed) and third.compiled == 0
    assert point(again := DataclassCode(kept)) and again.compiled, "code that is used no more was kept"


def test_what_one_start_did_not_need_stays_for_the_next(kept: Path) -> None:
    more = f"{SOURCE}\n@dataclasses.dataclass(init=False, repr=False)\nclass One:\n    a: int\n"
    for source in (more, SOURCE):
        point(code := DataclassCode(kept), source)
        code.compiled += 1  # as another class would
        code.keep()
    point(last := DataclassCode(kept), more)
    assert last.compiled == 0, "the comparison of One was thrown away"


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def of_another_python(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(FORMAT) - 1] + b"?" + content[len(FORMAT) :])


def open_to_others(file: Path) -> None:
    file.chmod(0o666)


@pytest.mark.parametrize("spoil", [cut, flip, of_another_python, open_to_others, Path.unlink])
def test_a_file_that_cannot_be_trusted_is_not_read_and_made_again(kept: Path, spoil: Callable[[Path], None]) -> None:
    spoil(kept)
    second = DataclassCode(kept)
    assert repr(point(second)(1)) == "Point(x=1, y=[], z='z')"
    assert second.compiled
    second.keep()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert point(third := DataclassCode(kept)) and third.compiled == 0


def test_a_file_of_another_user_is_not_read(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: kept.stat().st_uid + 1)
    assert point(second := DataclassCode(kept)) and second.compiled


def test_nothing_is_written_where_there_is_no_place_or_python_may_not(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").write_text("")
    for place in (None, tmp_path / "plain" / "bytecode" / "start"):
        code = DataclassCode(place)
        assert point(code)(1).x == 1
        code.keep()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    code = DataclassCode(file)
    point(code)
    code.keep()
    assert not file.exists()


def test_dataclasses_are_as_ever_afterwards(kept: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        point(DataclassCode(kept), SOURCE + "\n1 / 0")
    assert "exec" not in vars(dataclasses)
