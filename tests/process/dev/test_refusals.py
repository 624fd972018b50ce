"""A start of `kubiya dev` that fails prints one line with the remedy, and leaves nothing running."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.dev import BREAKS_DOWN, PORTS, another_temporal
from tests.support.stack import BIN


def refused(home: Path, *arguments: str, ports: tuple[str, ...] = PORTS, **env: str) -> tuple[int, str]:
    """Exit code and the one line."""
    run = subprocess.run(
        [str(BIN / "kubiya"), "dev", *ports, *arguments],
        env={**os.environ, "HOME": str(home), **env},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert run.stdout == ""
    lines = run.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("kubiya: "), run.stderr
    return run.returncode, lines[0]


@pytest.mark.parametrize("flag", ["--port", "--temporal-port", "--ui-port"])
def test_a_taken_port(tmp_path: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, line = refused(tmp_path, flag, port)
    assert code == 69
    assert f"Port {port}, for " in line and f"by pid {os.getpid()}" in line
    assert f"choose another port with {flag} (0 for any free one)" in line


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database at all")


def torn(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 64)


def foreign(path: Path) -> None:
    import sqlite3

    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE something_else (x)")
    database.close()


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("temporal.db", garbage, "is not an SQLite database. Move it away (mv "),
        ("temporal.db", torn, "is a broken SQLite database (file is not a database). Move it away (mv "),
        ("temporal.db", foreign, "was never finished. Move it away (mv "),
        ("temporal.db", folder, "cannot be opened: Is a directory. Check its owner and mode"),
        ("control-plane.db", garbage, "is not an SQLite database. Move it away (mv "),
        ("control-plane.db", torn, "is a broken SQLite database (file is not a database). Move it away (mv "),
    ],
)
def test_a_broken_database(tmp_path: Path, name: str, make: Callable[[Path], None], says: str) -> None:
    state = tmp_path / ".kubiya" / "dev"
    state.mkdir(parents=True)
    make(state / name)
    code, line = refused(tmp_path)
    assert code == 78 and says in line and str(state / name) in line


def test_no_temporal_program(tmp_path: Path) -> None:
    """An interpreter of its own, without the wheel: the site packages are lent to it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    (site,) = (p for p in sys.path if p.endswith("site-packages"))
    run = subprocess.run(
        [str(tmp_path / "venv" / "bin" / "python"), "-P", "-m", "kubiya_worker.cli.main", "dev", *PORTS],
        env={"HOME": str(tmp_path), "PATH": "/nowhere", "PYTHONPATH": f"{Path(__file__).parents[3]}:{site}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 78
    assert run.stderr.splitlines() == [
        "kubiya: There is no `temporal` program on PATH or in this Python environment. pip install "
        "'kubiya-worker[server]', or give --temporal-address HOST:PORT of a server that runs"
    ]


def test_without_the_server_extra(tmp_path: Path) -> None:
    """There is a `temporal` on PATH here, and no uvicorn."""
    hidden = tmp_path / "hide"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys\nsys.modules['uvicorn'] = None\n")
    code, line = refused(tmp_path, PYTHONPATH=str(hidden))
    assert code == 78
    assert "The local control plane is not installed. pip install 'kubiya-worker[server]'" in line


def test_a_temporal_on_path_wins_and_its_failure_is_told(tmp_path: Path) -> None:
    path = another_temporal(tmp_path, "echo 'I am another temporal' >&2; exit 3")
    code, line = refused(tmp_path, PATH=path)
    assert code == 69
    assert "Temporal ended with exit code 3: I am another temporal. See " in line


def test_a_temporal_that_breaks_down_at_each_start_is_named_with_what_it_said(tmp_path: Path) -> None:
    code, line = refused(tmp_path, PATH=another_temporal(tmp_path, BREAKS_DOWN))
    assert code == 69
    assert "Temporal ended with exit code 2: panic: no namespace. See " in line


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--temporal-address", "127.0.0.1:1"), 69, "Nothing answers at --temporal-address 127.0.0.1:1. Is Temporal"),
        (("--temporal-address", "nonsense"), 64, "--temporal-address 'nonsense' is not HOST:PORT"),
        (("--queue-id", "a b"), 64, "--queue-id 'a b' is not a queue's id or name"),
        (("--port", "70000"), 64, "70000 is not in the range 0<=x<=65535. See 'kubiya dev --help'"),
        (("--surplus",), 64, "No such option '--surplus'. See 'kubiya dev --help'"),
    ],
)
def test_wrong_usage_is_refused_with_what_is_wrong(
    tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    found, line = refused(tmp_path, *arguments)
    assert found == code and says in line, line


def test_a_queue_id_that_is_not_there(tmp_path: Path) -> None:
    code, line = refused(tmp_path, "--ephemeral", "--queue-id", "6f9619ff-8b86-d011-b42d-00c04fc964ff")
    assert code == 78 and "There is no queue with the id 6f9619ff" in line and "Give a name, and it is made" in line


def test_a_state_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for bad in (tmp_path / "file", Path("/proc/nowhere")):
        code, line = refused(tmp_path, "--state-dir", str(bad))
        assert code == 78 and f"The folder {bad} cannot be used" in line and "--state-dir" in line


def test_an_empty_database_file_is_no_reason(tmp_path: Path) -> None:
    """A version before this one left such a file behind when it was killed early; the port says how far we got."""
    state = tmp_path / ".kubiya" / "dev"
    state.mkdir(parents=True)
    (state / "temporal.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, line = refused(tmp_path, "--port", str(taken.getsockname()[1]))
    assert code == 69 and "is taken" in line
    assert not (state / "temporal.db").exists()
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
