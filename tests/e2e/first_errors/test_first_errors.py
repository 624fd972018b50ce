"""U3: each error that a newcomer can make in the first ten minutes ends in one line that says the remedy.

`table.txt` holds what was typed, what came back and the exit code. It is compared word for word; write it anew with
UPDATE_SNAPSHOTS=1 and read the difference.
"""

from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.dev import Dev
from tests.support.stack import BIN

TABLE = Path(__file__).with_name("table.txt")

# Typed in a shell that nobody has prepared, and where no stack runs.
BARE = [
    "kubiya bogus",
    "kubiya exec swarm ops hi",
    "kubiya exec agent ops",
    "kubiya exec agent ops 'hi'",
    "KUBIYA_API_KEY=kby_x CONTROL_PLANE_URL=localhost:7777 kubiya exec agent ops hi",
    "KUBIYA_API_KEY=kby_x CONTROL_PLANE_URL=http://127.0.0.1:1 kubiya exec agent ops hi",
    "KUBIYA_API_KEY='kby x' kubiya exec agent ops hi",
    "KUBIYA_API_KEY_FILE=/nowhere/key kubiya exec agent ops hi",
    "kubiya approvals ls",
    "kubiya worker start",
    "kubiya worker start --queue-id default",
    "kubiya worker start --queue-id 'a b'",
    "kubiya worker start --queue-id default --api-key kby_x",
    "kubiya worker start --queue-id default --api-key-file /nowhere/key",
    "kubiya worker start --queue-id default --config /nowhere/file.yaml",
    "KUBIYA_API_KEY=kby_x HEARTBEAT_INTERVAL=soon kubiya worker start --queue-id default",
    "kubiya dev --port 70000",
    "kubiya dev --prot 1",
    "kubiya dev --temporal-address nonsense",
    "kubiya dev --port 0 --temporal-address 127.0.0.1:1",
    "kubiya dev --queue-id 'a b'",
    "kubiya dev --state-dir /proc/nowhere",
    "kubiya wroker start",
    "kubiya worker strat",
    "kubiya help",
    "kubiya exec 'find what fills the disk'",
    "kubiya worker start --queueid my-queue",
    "kubiya worker start my-queue",
    "kubiya worker start --queue-id",
    "kubiya worker start --queue-id my-queue --type=kubernetes",
    "kubiya worker start --queue-id my-queue --memory lots",
    "kubiya worker start --queue-id my-queue --max-log-size=10MB",
    "kubiya worker start --queue-id my-queue --wait-timeout soon",
    "kubiya worker start --queue-id my-queue --auto-update",
    "KUBIYA_API_KEY=kby_x kubiya worker start --queue-id my-queue -d --enable-local-proxy",
    "KUBIYA_CONFIG=/nowhere/config kubiya worker start --queue-id my-queue",
    "LOG_LEVEL=loud kubiya worker start --queue-id my-queue",
    "KUBIYA_METRICS_PORT=http kubiya config show",
    "KUBIYA_API_KEY=kby_x PYTHON_PATH=/bin/ls kubiya worker start --queue-id my-queue",
    "KUBIYA_API_KEY=kby_x kubiya worker start --queue-id my-queue --local-wheel nothing.whl",
    "KUBIYA_API_KEY=kby_x kubiya worker start --queue-id my-queue --package-version latest",
    "KUBIYA_API_KEY=kby_x CONTROL_PLANE_URL=http://127.0.0.1:1 kubiya worker start --queue-id my-queue -d",
    "kubiya worker stop",
    "kubiya worker stop --queue-id nowhere",
    "kubiya worker restart --queue-id nowhere",
    "kubiya worker logs --queue-id nowhere",
    "kubiya worker install-service",
    "kubiya config explain heartbeat",
    "kubiya config validate",
    "kubiya config validate nothing.yaml",
    "printf 'queue_id: a\\nbogus: 1\\n' > file.yaml; kubiya config validate file.yaml",
    "printf 'loging: {level: INFO}\\n' > file.yaml; kubiya config validate file.yaml",
    "printf 'queue_id: [a\\n' > file.yaml; kubiya config validate file.yaml",
    "printf 'queue_id: ${NOPE}\\n' > file.yaml; kubiya config validate file.yaml",
    "printf -- '- a\\n' > file.yaml; kubiya config validate file.yaml",
    "kubiya config validate .",
    "kubiya config init /proc/nowhere/file.yaml",
    "kubiya config schema > /dev/full",
    "kubiya server start --port 99999",
    "kubiya server start --port abc",
    "kubiya server start --bogus",
    "echo junk > junk.db; kubiya server start --port 0 --database junk.db",
    "kubiya completion tcsh",
    "kubiya approvals ls --jsn",
]

# Typed in a shell that `. ~/.kubiya/dev/env` has prepared.
PREPARED = [
    "kubiya dev",
    "kubiya exec agent opps hi",
    "kubiya exec agent ops ''",
    "kubiya exec agent ops '   '",
    "head -c 5000000 /dev/zero | tr '\\0' x | kubiya exec agent ops -",
    "kubiya exec agent ops hi --queue nowhere",
    "kubiya exec agent ops hi --timeout soon",
    "kubiya exec agent ops hi --approve --deny",
    "kubiya exec agent ops hi -i",
    "kubiya exec agent ops hi -o yaml",
    "kubiya exec attach nothing",
    "KUBIYA_API_KEY=kby_wrong kubiya exec agent ops hi",
    "KUBIYA_API_KEY= kubiya exec agent ops hi",
    "CONTROL_PLANE_GATEWAY_URL=http://127.0.0.1:1 kubiya exec agent ops hi",
    "kubiya approvals show abcd1234",
    "kubiya approvals approve",
    "kubiya worker start --queue-id nowhere",
    "KUBIYA_API_KEY=kby_wrong kubiya worker start --queue-id default",
    "kubiya worker start --queue-id nowhere -d",
    "kubiya worker start --metrics-port 99999",
    "kubiya worker start --grace-period forever",
    "TEMPORAL_TLS=maybe kubiya worker start",
    "DOCKER_HOST=unix:///nowhere/docker.sock kubiya worker start --type=docker --queue-id default",
    "kubiya exec team ops hi",
    "kubiya exec agent '' hi",
    "kubiya exec attach ''",
    "kubiya exec agent ops hi --output-lines -1",
    "kubiya approvals show ''",
    "kubiya approvals edit nothing --arguments '{'",
    "kubiya server start --port ${CONTROL_PLANE_URL##*:}",
]


def typed(line: str, home: Path, environment: dict[str, str]) -> str:
    """`$ line`, what came back, `[exit code]`; what differs from run to run is named."""
    run = subprocess.run(
        ["/bin/sh", "-c", line],
        env={"PATH": f"{BIN}:{os.defpath}", "HOME": str(home), "LANG": "C.UTF-8", "COLUMNS": "200", **environment},
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
    )
    text = (run.stdout + run.stderr).replace(str(home), "~")
    text = re.sub(r"127\.0\.0\.1:(?!1\b)\d+", "127.0.0.1:PORT", text)
    text = re.sub(r"^kubiya worker: venv: .*\n", "", text, flags=re.MULTILINE)  # progress, with a time in it
    text = re.sub(r"(There is no \w+ '.*'\. There are:) [\w, -]+", r"\1 THOSE", text)  # samples may become more
    text = re.sub(r"There are: [\w, -]+\. See", "There are: THOSE. See", text)  # commands, too
    text = re.sub(r"Port \d+", "Port PORT", text)
    text = re.sub(r"pid \d+|kill \d+", lambda m: m[0].split()[0] + " PID", text)
    return f"$ {line}\n{text.rstrip()}\n[exit {run.returncode}]\n"


def bare(line: str, home: Path) -> str:
    home.mkdir()
    return typed(line, home, {})


@pytest.mark.timeout(600)
def test_first_errors(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as at_once:  # each with a home of its own
        blocks = list(at_once.map(bare, BARE, (tmp_path / str(n) for n in range(len(BARE)))))
    running = Dev(tmp_path, "--ephemeral")
    try:
        running.ready()
        prepared = {k: v for k, v in running.environment().items() if k not in ("PATH", "PWD", "HOME", "OLDPWD", "_")}
        blocks += [typed(line, tmp_path, prepared) for line in PREPARED]
    finally:
        running.stop()
        running.process.kill()
    found = "\n".join(blocks)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        TABLE.write_text(found)
    assert found == TABLE.read_text()
    for block in blocks:
        _, *said, code = block.splitlines()
        nothing_to_stop = "No worker of" in said[0] and code == "[exit 1]"
        assert code not in ("[exit 0]", "[exit 1]", "[exit 70]") or nothing_to_stop, block
        assert len(said) == 1 and said[0].startswith("kubiya"), block
