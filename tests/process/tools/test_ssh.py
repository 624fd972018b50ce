"""The ssh skill with real OpenSSH servers: many hosts at once, and each way in which one of them fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.tools.base import Tool, ToolArgumentsError, ToolContext, ToolResult, expanded
from kubiya_worker.tools.confinement import support
from kubiya_worker.tools.toolset import build_toolset
from kubiya_worker.tracing import current, ids
from tests.support.sshd import SSHD, SshServer, make_key, servers

pytestmark = pytest.mark.skipif(SSHD is None, reason="there is no sshd here: apt-get install openssh-server")
KEY = "{{.secret.SSH_KEY}}"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[SshServer], str]]:
    with servers(tmp_path_factory.mktemp("sshd"), 5) as running:
        yield running


@pytest.fixture(autouse=True)
def confined() -> Iterator[None]:
    before = support.mode()
    support.use(support.PREFER)
    yield
    support.use(before)


def ssh(lab: list[SshServer], workspace: Path, **configuration: Any) -> Tool:
    hosts = {f"web{number}": server.settings() for number, server in enumerate(lab, 1)}
    given = {"hosts": hosts, "groups": {"web": list(hosts)}, "private_key": KEY, "allowed_commands": ["*"]}
    skill = {"name": "fleet", "type": "ssh", "configuration": {**given, **configuration}}
    tool = build_toolset([skill], workspace=workspace).get("ssh")
    assert tool is not None
    return tool


def call(tool: Tool, key: str, hosts: list[str], command: str, **arguments: Any) -> ToolResult:
    context = ToolContext("e1", "call-1", Path("/nonexistent"), secrets={"SSH_KEY": key})
    given = expanded(tool, {"hosts": hosts, "command": command, **arguments})
    return asyncio.run(tool.run(given, context))


def states(result: ToolResult) -> dict[str, str]:
    return {row["host"]: row["state"] for row in result.metadata["hosts"]}


def test_five_hosts_at_once_one_down_and_one_with_a_changed_key(
    lab: tuple[list[SshServer], str], tmp_path: Path
) -> None:
    hosts, key = lab
    tool = ssh(hosts, tmp_path)
    hosts[1].stop()
    hosts[3].change_host_key()
    result = call(tool, key, ["web"], "echo 'it is' up")
    assert states(result) == {
        "web1": "ok",
        "web2": "unreachable",
        "web3": "ok",
        "web4": "host_key_changed",
        "web5": "ok",
    }
    assert "=== web1 ===\nit is up\n" in result.output
    assert "=== web5 ===\nit is up\n" in result.output
    assert result.error is not None
    assert "failed on 2 of 5 hosts" in result.error
    assert "web2: web2 cannot be reached: connect to host 127.0.0.1 port" in result.error
    assert "web4: REFUSED: the host key of web4 is not the pinned one; nothing was run. It sent SHA256:" in result.error
    assert not list(tmp_path.iterdir())
    hosts[1].start()
    support.use(support.OFF)
    again = call(ssh(hosts, tmp_path), key, ["web"], "true")  # the pinned keys are those of now
    assert again.error is None, again.error


def test_what_a_program_says_and_how_it_ends(lab: tuple[list[SshServer], str], tmp_path: Path) -> None:
    hosts, key = lab
    tool = ssh(hosts, tmp_path)
    assert call(tool, key, ["web1"], "cat", input="from here\n").output == "from here\n"
    assert call(tool, key, ["web1"], "printf 'b\\na\\n' | sort").output == "a\nb\n"
    failed = call(tool, key, ["web1"], "ls /nonexistent")
    assert failed.error == "exit code 2"
    assert "No such file" in failed.output
    # The client's own exit code, from a program: the log of the client tells the two apart.
    own = call(tool, key, ["web1"], "sh -c 'echo Host key verification failed. >&2; exit 255'")
    assert own.error == "exit code 255"
    assert states(own) == {"web1": "failed"}
    for limit in (1, 4, 16):  # on a busy machine the connection alone may take longer than the first
        slow = call(tool, key, ["web1"], "sleep 60", timeout=limit)
        if states(slow) == {"web1": "timed_out"}:
            break
    assert states(slow) == {"web1": "timed_out"}
    assert "the program may still run there" in str(slow.error)
    long = call(tool, key, ["web1"], "seq 1 400000")
    assert long.metadata["characters_left_out"] > 2_000_000
    assert len(long.output) < 60_000


def test_words_reach_the_other_host_as_they_are(lab: tuple[list[SshServer], str], tmp_path: Path) -> None:
    hosts, key = lab
    tool = ssh(hosts, tmp_path)
    words = ["a b", "$HOME", "`id`", "x;id", "it's", 'say "hi"', "back\\slash", "\\'", "!!", "*", "~", "", "ü\tö", "-n"]
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    result = call(tool, key, ["web1"], f"printf '%s|' {quoted}")
    assert result.output.rstrip("\n") == "".join(f"{word}|" for word in words)


def test_only_listed_programs_run_and_what_leads_elsewhere_is_refused(
    lab: tuple[list[SshServer], str], tmp_path: Path
) -> None:
    hosts, key = lab
    tool = ssh(hosts, tmp_path, allowed_commands=["ls", "cat", "sort", "tar", "git", "tee", "find"])
    assert call(tool, key, ["web1"], "ls /").error is None
    for command in (
        "id",
        "./ls",
        "/tmp/ls",
        "find / -exec id ;".replace(";", "\\;"),
        "sort -o .bashrc /etc/passwd",
        "sort --compress-program=id /etc/passwd",
        "tee .ssh/authorized_keys",
        "tar -xf /tmp/a.tar",
        "git status",
        "cat /proc/self/environ",
        "ls; id",
        "ls > x",
    ):
        result = call(tool, key, ["web1"], command)
        assert result.metadata.get("refused"), command


def test_a_jump_host_is_passed_through_and_blamed_for_its_own_faults(
    lab: tuple[list[SshServer], str], tmp_path: Path
) -> None:
    hosts, key = lab
    inventory = {
        "bastion": hosts[0].settings(jump_only=True),
        "inner": hosts[2].settings(jump="bastion"),
        "lost": hosts[2].settings(jump="bastion", port=1),
    }
    tool = ssh(hosts, tmp_path, hosts=inventory, groups={})
    assert call(tool, key, ["inner"], "echo in").output == "in\n"
    with pytest.raises(ToolArgumentsError, match="There is no host 'bastion'"):
        call(tool, key, ["bastion"], "id")
    lost = call(tool, key, ["lost"], "id")
    assert states(lost) == {"lost": "unreachable"}
    hosts[0].change_host_key()
    changed = call(tool, key, ["inner"], "id")
    assert states(changed) == {"inner": "host_key_changed"}
    assert "the host key of bastion is not the pinned one" in str(changed.error)


def test_a_wrong_key_is_told_and_the_secret_is_nowhere(lab: tuple[list[SshServer], str], tmp_path: Path) -> None:
    hosts, _ = lab
    other = make_key(tmp_path / "other")
    tool = ssh(hosts, tmp_path)
    refused = call(tool, other, ["web3"], "id")
    assert states(refused) == {"web3": "login_refused"}
    assert "Permission denied (publickey" in str(refused.error)
    missing = asyncio.run(
        tool.run({"hosts": ["web3"], "command": "id"}, ToolContext("e1", "call-1", tmp_path, secrets={}))
    )
    assert "the secret SSH_KEY is not there" in missing.output
    broken = call(tool, "no key at all", ["web3"], "id")
    assert broken.error is not None
    assert "no key at all" not in broken.output


def test_a_host_that_accepts_it_learns_of_the_trace_and_others_run_as_ever(
    lab: tuple[list[SshServer], str], tmp_path: Path
) -> None:
    hosts, key = lab
    accepting = hosts[2]
    accepting.stop()
    accepting.lines.append("AcceptEnv TRACEPARENT")
    accepting.start()
    tool = ssh(hosts, tmp_path, hosts={"yes": accepting.settings(jump="no"), "no": hosts[0].settings()}, groups={})
    trace = ids.trace_of("e1", 1, None, None, 1.0)
    token = current.STEP.set(current.Step(7, lambda: trace, "w1", to_models=False))
    try:
        told = call(tool, key, ["yes", "no"], "sh -c 'echo trace=$TRACEPARENT'")
    finally:
        current.STEP.reset(token)
    assert told.output == f"=== yes ===\ntrace={trace.traceparent(7)}\n=== no ===\ntrace=\n"
    assert call(tool, key, ["yes"], "sh -c 'echo trace=$TRACEPARENT'").output == "trace=\n"


def _listens(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        return True
    return False


def test_keys_of_an_agent(lab: tuple[list[SshServer], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts, key = lab
    tool = ssh(hosts, tmp_path, private_key=None, agent=True)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    assert "SSH_AUTH_SOCK" in call(tool, key, ["web3"], "echo hi").output
    path = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        while not _listens(path):  # its file is there a moment before
            assert agent.poll() is None
            time.sleep(0.01)
        environment = {**os.environ, "SSH_AUTH_SOCK": str(path)}
        subprocess.run(["ssh-add", "-q", "-"], input=key.encode(), env=environment, check=True)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        assert call(tool, key, ["web3"], "echo hi").output == "hi\n"
    finally:
        agent.terminate()
        agent.wait()


KILLED = """
import asyncio, json, sys
from pathlib import Path
from kubiya_worker.tools.base import ToolContext
from kubiya_worker.tools.toolset import build_toolset
given = json.load(sys.stdin)
tool = build_toolset([given["skill"]], workspace=Path(given["workspace"])).get("ssh")
context = ToolContext("e1", "call-1", Path(given["workspace"]), secrets={"SSH_KEY": given["key"]})
asyncio.run(tool.run({"hosts": ["web1"], "command": "sleep 60"}, context))
"""


def test_a_killed_worker_leaves_no_key_behind(lab: tuple[list[SshServer], str], tmp_path: Path) -> None:
    hosts, key = lab
    skill = {
        "name": "fleet",
        "type": "ssh",
        "configuration": {
            "hosts": {"web1": hosts[2].settings()},
            "private_key": KEY,
            "allowed_commands": ["*"],
        },
    }
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    worker = subprocess.Popen(
        [sys.executable, "-c", KILLED], stdin=subprocess.PIPE, env={**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    )
    assert worker.stdin is not None
    worker.stdin.write(json.dumps({"skill": skill, "workspace": str(tmp_path), "key": key}).encode())
    worker.stdin.close()
    deadline = time.monotonic() + 60
    while not list(folder.glob("kubiya-ssh-*/log-web1")):
        assert worker.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert list(folder.glob("kubiya-ssh-*/key-web1"))
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    while list(folder.iterdir()):
        assert time.monotonic() < deadline, "the key is still there"
        time.sleep(0.02)
