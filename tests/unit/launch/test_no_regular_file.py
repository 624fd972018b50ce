"""No command replaces a device, a pipe or a socket: as root it would take /dev/null from the whole host."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from kubiya_worker._supervisor.posix import files
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.server.auth import Keys, ensure_key_file
from kubiya_worker.server.store.backup import back_up
from kubiya_worker.server.store.database import Database
from kubiya_worker.support import bundle


def database(folder: Path) -> Path:
    Database(folder / "cp.db").close()
    return folder / "cp.db"


@pytest.mark.parametrize(
    "write",
    [
        lambda target: files.replace(target, "x"),
        lambda target: back_up(database(target.parent), target),
        lambda target: bundle.write(target, [], []),
    ],
    ids=["a small file", "a backup", "a support bundle"],
)
def test_what_is_no_regular_file_stays(tmp_path: Path, write: Callable[[Path], object]) -> None:
    target = tmp_path / "target"
    os.mkfifo(target)
    with pytest.raises((ConfigurationError, OSError), match="no regular file"):
        write(target)
    assert stat.S_ISFIFO(target.stat().st_mode) and not list(tmp_path.glob(".target*"))


def test_a_device_is_no_key_file(tmp_path: Path) -> None:
    link = tmp_path / "key"
    link.symlink_to(os.devnull)
    with pytest.raises(ConfigurationError, match="no regular file"):
        ensure_key_file(Keys(Database(tmp_path / "cp.db")), link)
    assert link.is_symlink()


def test_a_link_and_a_file_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("file", "link"):
        files.replace(tmp_path / name, name)
        assert (tmp_path / name).read_text() == name and (tmp_path / name).is_file()
    assert (tmp_path / "file").read_text() == "file"
    with pytest.raises(IsADirectoryError):
        files.replace(tmp_path, "x")
