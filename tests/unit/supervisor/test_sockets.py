"""A socket gets a name that can be dialled, however long the folder's path and TMPDIR are."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from kubiya_worker._supervisor.posix.sockets import BoundSocket

LONG = "a" * 100


def dialled(bound: BoundSocket) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        peer.connect(bound.address)
        peer.send(b"here")
    return bound.socket.recv(10) == b"here"


def test_the_folder_that_was_asked_for_is_used_when_it_fits() -> None:
    folder = f"/tmp/socket-{os.urandom(4).hex()}"
    bound = BoundSocket(socket.SOCK_DGRAM, folder, "s")
    assert bound.address == f"{folder}/s" and dialled(bound)
    bound.close()
    assert not Path(folder).exists()


@pytest.mark.parametrize("variable", ["short", "long", "missing", "none"])
def test_a_long_path_gets_a_temporary_folder(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = f"/tmp/t-{os.urandom(4).hex()}"
    values = {"short": short, "long": str(tmp_path / LONG), "missing": "/proc/1/nothing"}
    if variable == "none":
        monkeypatch.delenv("TMPDIR", raising=False)
    else:
        monkeypatch.setenv("TMPDIR", values[variable])
    bound = BoundSocket(socket.SOCK_DGRAM, str(tmp_path / LONG), "s")
    place = Path(bound.address).parent
    assert place.parent == Path(short if variable == "short" else "/tmp")
    assert stat.S_IMODE(place.stat().st_mode) == 0o700 and dialled(bound)
    bound.close()
    assert not place.exists()
    if variable == "short":
        place.parent.rmdir()


def test_no_folder_at_all_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: BoundSocket) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(BoundSocket, "_open", refused)
    with pytest.raises(PermissionError):
        BoundSocket(socket.SOCK_DGRAM, str(tmp_path), "s")


def test_what_a_killed_process_left_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    first = BoundSocket(socket.SOCK_DGRAM, str(tmp_path / LONG), "s")
    first.socket.close()  # as a kill does: the name stays
    second = BoundSocket(socket.SOCK_DGRAM, str(tmp_path / LONG), "s")
    assert second.address == first.address and dialled(second)
    second.close()
    assert not Path(second.address).parent.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_folder_of_somebody_else_is_not_used(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    first = BoundSocket(socket.SOCK_DGRAM, str(tmp_path / LONG), "s")
    place = Path(first.address).parent
    first.close()
    other = tmp_path / "other"
    if kind == "folder":
        place.mkdir()
        os.chown(place, 65534, 65534)
    else:
        other.mkdir()
        place.symlink_to(other)
    try:
        second = BoundSocket(socket.SOCK_DGRAM, str(tmp_path / LONG), "s")
        assert Path(second.address).parent != place and dialled(second)
        second.close()
        assert not other.exists() or not list(other.iterdir())
    finally:
        place.unlink() if kind == "link" else place.rmdir()
