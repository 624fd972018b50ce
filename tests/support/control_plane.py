"""The control plane's own program, alone: it serves what needs no Temporal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from kubiya_worker.server.store.address import Place
from tests.support import databases
from tests.support.stack import ROOT, Process, free_port

MODULE = [sys.executable, "-m", "kubiya_worker.server"]


class ControlPlane:
    """`with ControlPlane(tmp_path) as plane`: a process on a free port, seeded, with a key in `plane.key`."""

    def __init__(self, folder: Path, *, database: Place | None = None) -> None:
        self.folder = folder
        self.database = database or databases.place(folder)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = ""
        self.http = requests.Session()
        self.http.trust_env = False
        self.process: Process | None = None

    def __enter__(self) -> ControlPlane:
        self.start()
        self.key = (self.folder / "key").read_text().strip()
        self.http.headers["Authorization"] = f"Bearer {self.key}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.http.close()
        if self.process is not None:
            self.process.kill()
            if error is not None:
                print("--- control plane", *self.process.lines[-60:], sep="\n")

    def argv(self, *more: str) -> list[str]:
        files = databases.options(self.database, self.folder)
        # A port that no other test ever takes.
        return [*MODULE, "--port", str(self.port), *files, "--temporal-address", "127.0.0.1:1", *more]

    def start(self) -> Process:
        if self.process is not None:
            self.process.kill()
        self.process = Process(self.argv("--seed"), {"HOME": str(self.folder)}, self.folder)
        self.process.expect("control_plane.listening")
        return self.process

    def key_of(self, organization: str) -> str:
        """Another organization's key, made beside the running server."""
        path = self.folder / f"key-{organization}"
        argv = [*MODULE, "create-key", *databases.options(self.database, self.folder), "--key-file", str(path)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(self.folder)}
        subprocess.run([*argv, "--organization", organization], check=True, timeout=60, env=environment)
        return path.read_text().strip()

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        """A request under /api/v1, or elsewhere for a whole path that begins with two slashes."""
        where = path[1:] if path.startswith("//") else f"/api/v1{path}"
        options.setdefault("timeout", 30)
        return self.http.request(method, self.url + where, json=body, **options)

    def call(self, method: str, path: str, body: Any = None, status: int = 200, **options: Any) -> Any:
        answer = self.ask(method, path, body, **options)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def execute(self, prompt: str = "Look.", agent: str = "ops", **body: Any) -> str:
        request = {"prompt": prompt, "worker_queue_id": "default", **body}
        return str(self.call("POST", f"/agents/{agent}/execute", request)["execution_id"])
