"""Five hosts by ssh in a run: one call for all, which a person approves with its hosts and command in view."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.demo_scripts import script
from tests.support.sshd import SSHD, SshServer, servers
from tests.support.stack import Stack

pytestmark = pytest.mark.skipif(SSHD is None, reason="there is no sshd here: apt-get install openssh-server")
LIMITS = (6, 24)  # seconds that the skill gives each host; the second where the first is too little for a busy machine
MARGIN = 60.0  # for the rest of the run, on a loaded machine


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[SshServer], str]]:
    with servers(tmp_path_factory.mktemp("sshd"), 6) as running:
        yield running


def run(stack: Stack, agent: str, *calls: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run the calls and approve what is asked for; return the calls' ends and the requests."""
    steps = [{"tools": [call]} for call in calls]
    execution = stack.execute(script(*steps, {"text": "Done."}), agent=agent)
    ended, asked = [], []
    for event in stack.events(execution):
        if event["event"] == "approval_requested":
            asked.append(stack.call("GET", f"/approvals/{event['data']['approval_id']}"))
            stack.call("POST", f"/approvals/{event['data']['approval_id']}/approve", {"reason": "a test"})
        elif event["event"] == "tool_completed":
            ended.append(event["data"])
    return ended, asked


def test_five_hosts_in_one_call_with_an_approval_that_shows_hosts_and_command(
    stack: Stack, lab: tuple[list[SshServer], str], tmp_path: Path
) -> None:
    hosts, key = lab
    name = uuid.uuid4().hex[:8]
    secret = f"SSH_{name.upper()}"
    stack.call("PUT", f"/secrets/{secret}", {"value": key})
    inventory = {f"web{number}": server.settings() for number, server in enumerate(hosts[:5], 1)}
    inventory["bastion"] = hosts[5].settings(jump_only=True)
    inventory["web3"]["jump"] = "bastion"
    configuration = {
        "hosts": inventory,
        "groups": {"web": [f"web{number}" for number in range(1, 6)]},
        "private_key": f"{{{{.secret.{secret}}}}}",
        "allowed_commands": ["echo"],
    }
    rule = {"name": f"ask-{name}", "scope_type": "tool", "scope_value": "ssh", "action": "ask"}
    made = stack.call("POST", "/approval-rules", rule)
    hosts[1].stop()  # down
    hosts[3].change_host_key()
    stopped = hosts[4].process
    assert stopped is not None
    stopped.send_signal(signal.SIGSTOP)  # takes connections, and answers none
    try:
        for limit in LIMITS:
            agent = f"fleet-{name}-{limit}"
            limited = {"type": "ssh", "configuration": {**configuration, "timeout": limit, "connect_timeout": limit}}
            stack.agent(agent, skills=[limited, {"type": "file_system", "name": "files"}])
            began = time.monotonic()
            ended, asked = run(
                stack,
                agent,
                {"name": "ssh", "arguments": {"hosts": ["web"], "command": "echo up"}},
                {"name": "ssh", "arguments": {"hosts": ["web1"], "command": "id"}},
                {"name": "save_file", "arguments": {"path": "a.txt", "content": "x"}},
            )
            seconds = time.monotonic() - began
            if "failed on 3 of 5 hosts" in str(ended[0]["tool_error"]):
                break
    finally:
        stopped.send_signal(signal.SIGCONT)
        stack.call("DELETE", f"/approval-rules/{made['id']}")
    output, error = str(ended[0]["tool_output"]), str(ended[0]["tool_error"])
    for host in ("web1", "web3"):
        assert f"=== {host} ===\nup\n" in output
    assert "failed on 3 of 5 hosts" in error
    assert "web2: web2 cannot be reached" in error
    assert "web4: REFUSED: the host key of web4 is not the pinned one; nothing was run" in error
    assert "web5: " in error
    print(f"five hosts, one of which never answers, in {seconds:.1f} s; each may take {limit} s")
    assert limit <= seconds < limit + MARGIN
    assert asked[0]["tool_args"]["hosts"] == ["web1", "web2", "web3", "web4", "web5"]
    assert asked[0]["tool_args"]["command"] == "echo up"
    # A program that is not listed runs nowhere, approved or not; and what a host has said taints the run.
    refused = f"{ended[1]['tool_output']} {ended[1]['tool_error']}"
    assert "not allowed" in refused, refused
    assert asked[-1]["tool_name"] == "save_file"
    assert key.splitlines()[1] not in str(ended)
