"""A queue of its own with a worker deployment of its own, a conversation on it, and the commands of an operator."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from typing import Any

from temporalio.client import Client

from tests.support.stack import ROOT, Process, Stack

CHAT: dict[str, Any] = {"execution_metadata": {"interactive": True}}


class Fleet:
    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.name = f"fleet-{uuid.uuid4().hex[:6]}"
        self.queue = stack.queue(self.name)
        self.agent = stack.agent(f"chat-{self.name}")
        self._workers: list[Process] = []

    def worker(self, build: str = "", code: str = str(ROOT), **env: str) -> Process:
        """Start a worker of this build of the deployment, or without a version, whose PYTHONPATH is `code`."""
        versioned = {"TEMPORAL_DEPLOYMENT_NAME": self.name, "TEMPORAL_WORKER_BUILD_ID": build} if build else {}
        process = self.stack.worker(self.queue, ready=True, PYTHONPATH=code, **versioned, **env)
        self._workers.append(process)
        return process

    def deployment(self, *words: str, build: str = "", code: int = 0) -> str:
        """Run `kubiya worker deployment …` with `build` installed, check its exit code, and return its output."""
        env = {
            "KUBIYA_API_KEY": self.stack.key,
            "CONTROL_PLANE_URL": self.stack.url,
            "PYTHONPATH": str(ROOT),
            "QUEUE_ID": self.queue,
            "TEMPORAL_DEPLOYMENT_NAME": self.name,
            **({"TEMPORAL_WORKER_BUILD_ID": build} if build else {}),
        }
        argv = [sys.executable, "-m", "kubiya_worker.cli.main", "worker", "deployment", *words]
        done = subprocess.run(argv, env={**os.environ, **env}, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def converse(self, text: str = "hello") -> str:
        """An execution that has answered and waits for the next message."""
        execution = self.stack.execute(text, agent=self.agent, queue=self.queue, **CHAT)
        self.stack.wait_for_turn(execution, 1)
        return execution

    def say(self, execution: str, text: str, turn: int) -> None:
        """Send a message, and wait for the turn that answers it."""
        self.stack.call("POST", f"/executions/{execution}/message", {"message": text})
        self.stack.wait_for_turn(execution, turn)

    def turns(self, execution: str) -> list[int]:
        details = self.stack.call("GET", f"/analytics/executions/{execution}/details")
        return [turn["turn_number"] for turn in details["turns"]]

    def described(self, execution: str) -> tuple[str, str]:
        """(build that worked on it last, run id)."""

        async def ask() -> tuple[str, str]:
            client = await Client.connect(self.stack.temporal_address)
            found = await client.get_workflow_handle(f"agent-execution-{execution}").describe()
            info = found.raw_description.workflow_execution_info.versioning_info
            return info.deployment_version.build_id, found.run_id

        return asyncio.run(ask())

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
