"""Findings about a host: folders, PID files, disks, sockets."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubiya_worker.doctor import all_checks, host
from kubiya_worker.doctor.check import FAIL, PASS, SKIP, WARN, Finding
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.settings import Settings
from kubiya_worker.tools.confinement import support


def test_this_interpreter_and_its_packages_pass() -> None:
    assert host.python().status == host.packages().status == host.supervisor_package().status == PASS


def made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    program = folder / "kubiya"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


def test_the_python_of_the_worker_is_checked_as_the_start_does(tmp_path: Path) -> None:
    assert host.python(sys.executable).message.endswith(f"{Path(sys.executable).resolve()}, by PYTHON_PATH")
    old = made(tmp_path / "old")
    old.write_text("#!/bin/sh\necho Python 3.9.2\n")
    for wrong, said in ((tmp_path / "no-such", "is not a program"), (old, "is Python 3.9.2")):
        checks, _ = all_checks.checks(None, ConfigurationError("x"), tmp_path, {"PYTHON_PATH": str(wrong)})
        with pytest.raises(ConfigurationError, match=said):
            next(check for check in checks if check.name == "python").run()


def test_a_mount_that_is_read_only_is_told_with_the_way_to_mount_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    found = host.folders_of_worker({"KUBIYA_ALIVE_FILE": Path("/tmp")})
    assert found.message == "nothing can be written to /tmp: Read-only file system"
    assert "Set KUBIYA_ALIVE_FILE to another place" in found.remedy and "--tmpfs /tmp" in found.remedy


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "PACKAGES", ("click", "no_such_package_here"))
    found = host.packages()
    assert (found.status, found.message) == (FAIL, "missing: no_such_package_here")
    assert found.remedy == f"{sys.executable} -m pip install kubiya-worker"


def test_the_package_is_the_command_too() -> None:
    done = subprocess.run([sys.executable, "-m", "kubiya_worker", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("kubiya, version")


def test_the_setting_and_the_kernel_decide_what_is_said_of_the_confinement(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[tuple[bool, str], Finding] = {}
    for kernel in (support.Support(7), support.explain(errno.ENOSYS)):
        monkeypatch.setattr(support, "probe", lambda found=kernel: found)
        said |= {(kernel.works, mode): host.confinement(mode) for mode in support.MODES}
    assert {place: found.status for place, found in said.items()} == {
        **{(True, "require"): PASS, (True, "prefer"): PASS, (True, "off"): WARN},
        **{(False, "require"): FAIL, (False, "prefer"): WARN, (False, "off"): WARN},
    }
    assert "this kernel could confine them" in said[True, "off"].message
    for place, found in said.items():
        assert place[0] or "this kernel has no Landlock" in found.message
        assert found.status == PASS or found.remedy


@pytest.mark.parametrize(
    ("settings", "environ", "status", "says"),
    [
        (None, {}, WARN, "this kernel has no Landlock"),
        (None, {"KUBIYA_CONFINEMENT": " OFF "}, WARN, "off:"),
        (Settings("q", "key"), {}, WARN, "this kernel has no Landlock"),
        (Settings("q", "key", confinement="require"), {}, FAIL, "this kernel has no Landlock"),  # as a file may say
        (Settings("q", "key", confinement="off"), {}, WARN, "off:"),
    ],
)
def test_the_doctor_goes_by_the_workers_own_setting(
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings | None,
    environ: dict[str, str],
    status: str,
    says: str,
) -> None:
    monkeypatch.setattr(support, "probe", lambda: support.explain(errno.ENOSYS))
    listed, _ = all_checks.checks(settings, None, Path("/nonexistent"), environ)
    found = next(check for check in listed if check.name == "confinement").run()
    assert found.status == status and found.message.startswith(says)


def test_sources_without_the_link_to_the_supervisor_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some tools leave out links when they copy a folder."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = host.supervisor_package()
    assert (found.status, found.message) == (FAIL, "kubiya_worker/_supervisor is missing")


def test_a_folder_that_is_not_there_yet_passes_when_it_can_be_made(tmp_path: Path) -> None:
    assert host.permissions(tmp_path / "new").status == PASS


def test_a_key_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    home = tmp_path / ".kubiya"
    (home / "dev").mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    assert host.permissions(home).status == PASS
    (home / "dev" / "key").write_text("kby_x")
    (home / "dev" / "key").chmod(0o644)
    found = host.permissions(home)
    assert (found.status, found.remedy) == (WARN, f"chmod -R go-rwx {home}/dev/key")


def test_a_configuration_file_with_a_key_in_it_is_this_users_alone(tmp_path: Path) -> None:
    home = tmp_path / ".kubiya"
    home.mkdir(mode=0o700)
    file = home / "worker-config.yaml"
    for text, status in (("api_key: ${KUBIYA_API_KEY}", PASS), ("api_key:", PASS), ("api_key: 'kby_x'", WARN)):
        file.write_text(f"control_plane:\n  {text}\n")
        file.chmod(0o644)
        assert host.permissions(home).status == status, text
    assert host.permissions(home).remedy == f"chmod -R go-rwx {file}"


def test_a_pid_file_is_stale_when_its_process_is_gone_or_another_one(tmp_path: Path) -> None:
    assert host.pid_files(tmp_path).status == PASS
    file = tmp_path / "workers" / "q1" / "worker.pid"
    file.parent.mkdir(parents=True)
    mine = {"pid": os.getpid(), "start": "ticks:1", "boot": "id:x", "executable": sys.executable}
    for text in (json.dumps({"pid": os.getpid(), "identity": mine}), "not JSON"):
        file.write_text(text)
        found = host.pid_files(tmp_path)
        assert (found.status, found.remedy) == (WARN, "kubiya worker stop --queue-id q1"), text


def test_free_space_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.disk(tmp_path / "not" / "there").status == PASS
    monkeypatch.setattr(host, "DISK_WARN", 2**60)
    assert host.disk(tmp_path).status == WARN
    monkeypatch.setattr(host, "DISK_FAIL", 2**60)
    assert host.disk(tmp_path).status == FAIL


def test_few_open_files_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        found = host.limits()
        assert found.status == WARN and found.remedy.startswith("ulimit -n ")
        monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
        found = host.limits()
        assert found.status == WARN and "LimitNOFILE" in found.remedy  # `ulimit -n 256` would mend nothing
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Paths of sockets hold at most 107 bytes; pytest's folders can be longer."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _answer(listening: socket.socket, said: bytes) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(256)
        connection.sendall(said)


def test_a_docker_engine_is_asked_and_has_to_answer(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = short_folder / "docker.sock"
    environ = {"DOCKER_HOST": f"unix://{path}"}
    assert host.docker(environ).status == SKIP
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        answering = threading.Thread(target=_answer, args=(listening, b"HTTP/1.0 200 OK\r\n\r\nOK"))
        answering.start()
        assert host.docker(environ).status == PASS
        answering.join()
        answering = threading.Thread(target=_answer, args=(listening, b"220 mail\r\n"))
        answering.start()
        assert "is not a Docker engine's" in host.docker(environ).message
        answering.join()
        monkeypatch.setattr(host, "DOCKER_WITHIN", 0.05)
        found = host.docker(environ)  # connected, and then nothing
        assert (found.status, "does not answer within 0.05 s" in found.message) == (WARN, True)
    assert host.docker(environ).status == WARN  # the socket is there, and nobody listens
    assert host.docker({"DOCKER_HOST": "tcp://10.0.0.1:2375"}).status == SKIP


def test_a_venv_whose_python_is_gone_or_empty_is_told_with_what_mends_it(tmp_path: Path) -> None:
    assert host.venvs(tmp_path).message.startswith("none yet")
    venv = tmp_path / "workers" / "q" / "venv"
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin" / "python"
    python.symlink_to("/nowhere/python3.11")
    gone = host.venvs(tmp_path)
    assert (gone.status, f"rm -rf {venv}" in gone.remedy) == (FAIL, True)
    for says, wanted in (("exit 1", FAIL), ("exit 0", PASS)):
        python.unlink()
        python.write_text(f"#!/bin/sh\n{says}\n")
        python.chmod(0o755)
        assert host.venvs(tmp_path).status == wanted
