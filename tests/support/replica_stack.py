"""A stack whose control plane is two servers of one PostgreSQL database, behind a load balancer."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

from tests.support import databases
from tests.support.balancer import Balancer
from tests.support.postgres import PostgresServer
from tests.support.stack import Process, Stack, free_port


class ReplicaStack(Stack):
    """`replicas` are the servers; `url` is the balancer's, which workers and clients use."""

    def __init__(
        self, folder: Path, postgres: PostgresServer, *, persistent: bool = False, checked: bool = False
    ) -> None:
        """`checked`: the balancer asks the servers whether they are well."""
        self.address = postgres.fresh()
        super().__init__(folder, persistent=persistent, database=self.address)
        self._checked = checked
        self.ports = (free_port(), free_port())
        self.replicas: list[Process] = []
        self._balancer: Balancer | None = None

    def start_server(self) -> Process:
        self.replicas = [self.start_replica(number) for number in range(len(self.ports))]
        for each in self.replicas:
            each.expect("control_plane.listening")
        if self._balancer is None:
            self._balancer = Balancer(self.port, self.ports, checked=self._checked)
        self.server = self.replicas[0]
        return self.server

    def start_replica(self, number: int) -> Process:
        argv = [sys.executable, "-m", "kubiya_worker.server", "--port", str(self.ports[number]), "--seed"]
        argv += [*databases.options(self.database, self.folder), "--temporal-address", self.temporal_address]
        return self.start(argv)

    def kill_servers(self) -> None:
        for each in self.replicas:
            each.kill()

    def leader(self) -> int:
        """Return the number of the server that works for all."""
        for number, each in enumerate(self.replicas):
            lines = [line for line in each.lines if "replica.leads" in line]
            if each.popen.poll() is None and lines and "no_more" not in lines[-1]:
                return number
        return -1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)
        if self._balancer is not None:
            self._balancer.close()
