"""The control plane's log: it rotates by size, and loses and splits no line."""

from __future__ import annotations

import re
import socket
import stat
import subprocess
import sys
from pathlib import Path

from kubiya_worker.launch import logfiles
from kubiya_worker.server.log import BACKUPS, MAX_SIZE
from tests.support.control_plane import ControlPlane
from tests.support.relay import Relay
from tests.support.stack import Process, Stack, wait_until

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z (info|warning|error) [a-z_]+\.[a-z_]+( \S+=.+)?")

PROGRAM = """
import logging, os, sys, threading
from pathlib import Path
from kubiya_worker.server.log import RotatingLog

logging.basicConfig(level=logging.INFO, handlers=[RotatingLog(Path(sys.argv[1]), 20_000, int(sys.argv[2]))])

def write(name):
    for number in range(1000):
        logging.info("line %s %d %s", name, number, "ö" * (number % 90))
        if number % 100 == 0:
            os.write(2, f"raw {name} {number}\\n".encode())

threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("printed", flush=True)
"""


def run(path: Path, backups: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(backups)], capture_output=True, timeout=60, check=True
    )
    assert done.stdout == done.stderr == b""


def test_no_line_is_lost_or_split_over_rotations(tmp_path: Path) -> None:
    path = tmp_path / "cp.log"
    run(path, 100)
    files = logfiles.rotated(path)
    assert len(files) > 10
    for file in (*files, path):
        assert file.stat().st_size <= 20_500 and file.read_bytes().endswith(b"\n")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = [line for file in (*files, path) for line in file.read_text("utf-8").splitlines()]
    for name in "abc":
        assert [int(found[1]) for line in lines if (found := re.fullmatch(rf".* info line {name} (\d+) ö*", line))] == [
            *range(1000)
        ]
    assert sum(line.startswith("raw ") for line in lines) == 30 and lines[-1] == "printed"
    assert len(lines) == 3031


def test_all_files_together_have_a_bound(tmp_path: Path) -> None:
    run(tmp_path / "cp.log", 3)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cp.log", "cp.log.1", "cp.log.2", "cp.log.3"]
    assert MAX_SIZE * (BACKUPS + 1) == 50_000_000


def test_the_server_logs_into_the_file_and_says_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "cp.log"
    plane = ControlPlane(tmp_path)
    process = Process(plane.argv("--log-file", str(path)), {"HOME": str(tmp_path)}, tmp_path)
    try:
        wait_until(lambda: path.exists() and "control_plane.listening" in path.read_text(), 60, "it listens")
        plane.http.post(plane.url, data=b"", headers={"Host": "h"}, timeout=30)
        with socket.create_connection(("127.0.0.1", plane.port), timeout=30) as client:
            client.sendall(bytes.fromhex("16030100a5"))  # how a client of https:// begins
            assert b"400 Bad Request" in client.recv(100)
        wait_until(lambda: "temporal.unreachable" in path.read_text(), 60, "it tells that Temporal is away")
        process.popen.terminate()
        assert process.wait(30) == 0 and process.lines == []
        lines = path.read_text().splitlines()
        assert all(LINE.fullmatch(line) for line in lines), lines
        lines = [line for line in lines if " replica." not in line]  # on PostgreSQL it is one of several
        told = [line.split()[2] for line in lines]
        assert told[0] == "control_plane.listening" and told[-2:] == ["control_plane.stopping", "control_plane.stopped"]
        (unreadable,) = [line for line in lines if " warning request.unreadable peer=127.0.0.1 " in line]
        assert 'error="TLS was sent to a port that has none"' in unreadable
        assert told.count("temporal.unreachable") == 1 and "reason=SIGTERM" in lines[-2]
    finally:
        process.kill()
        plane.http.close()
    other = Process(plane.argv("--log-file", str(tmp_path / "no" / "cp.log")), {"HOME": str(tmp_path)}, tmp_path)
    assert other.wait(60) == 64 and "--log-file" in other.lines[-1]
    other.kill()


TEMPORAL_GOES = """
import asyncio, logging, sys
from datetime import timedelta
from kubiya_worker.server.log import use
from kubiya_worker.server.temporal import Temporal
from kubiya_worker.server.temporal_access import TemporalAccess

async def main():
    use(logging.StreamHandler(sys.stdout))
    client = await Temporal(TemporalAccess(sys.argv[1])).client()
    print("connected", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for _ in range(2):
        try:
            await client.get_workflow_handle("x").describe(rpc_timeout=timedelta(seconds=3))
        except Exception as error:
            print("ended:", type(error).__name__, flush=True)
    await asyncio.sleep(0.1)  # the core hands its lines over some milliseconds later

asyncio.run(main())
"""


def test_what_the_sdk_says_of_a_lost_temporal_is_one_line_in_the_form_of_the_log(stack: Stack) -> None:
    host, port = stack.temporal_address.rsplit(":", 1)
    with Relay(host, int(port)) as relay:
        argv = [sys.executable, "-c", TEMPORAL_GOES, f"127.0.0.1:{relay.port}"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=2, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "connected\n"
            relay.close()
            said, _ = process.communicate("go\n", timeout=60)
    lines = said.splitlines()
    assert len([line for line in lines if line.startswith("ended: ")]) == 2, lines
    told = [line for line in lines if not line.startswith("ended: ")]
    assert told and all(re.fullmatch(r"\S+Z warning [^\x1b]+ error=.+", line) for line in told), lines
    assert len(told) == len({line.split(" error=")[0].split("Z ")[1] for line in told}) == 1, told
