"""A stack whose control plane kills itself at a point (tests/support/self_killing_plane.py) and is started again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import requests

from tests.support import databases
from tests.support.stack import Process, Stack


class KillableStack(Stack):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.armed = folder / "armed"

    def start_server(self) -> Process:
        argv = [sys.executable, "-P", "-m", "tests.support.self_killing_plane", "--port", str(self.port), "--seed"]
        argv += databases.options(self.database, self.folder)
        env = {"KILL_FILE": str(self.armed), "KUBIYA_NOTIFY_NETWORKS": "127.0.0.0/8"}
        self.server = self.start([*argv, "--temporal-address", self.temporal_address], env)
        self.server.expect("control_plane.listening")
        return self.server

    def arm(self, point: str) -> None:
        fresh = self.armed.with_name("arming")  # what is read is there as a whole
        fresh.write_text(point)
        fresh.rename(self.armed)

    def dead(self, point: str) -> None:
        """Wait until the control plane has killed itself, let the time of what waits come, and start it again."""
        assert self.server is not None
        assert self.server.wait(90) == -9 and not self.armed.exists(), f"nobody came to {point}"
        with databases.opened(self.database) as database:
            database.execute("update notification_deliveries set due_at = 0 where state = 'waiting'")
            database.execute("update hook_replies set next_at = 0 where state = 'waiting'")
        self.processes.remove(self.server)
        self.server.kill()
        self.start_server()

    def tried(self, url: str, **given: Any) -> requests.Response | None:
        """Send a POST without a key, as a browser or a monitor does; None when the connection breaks."""
        try:
            return requests.post(f"{self.url}{url}", timeout=30, **given)
        except requests.ConnectionError:
            return None
