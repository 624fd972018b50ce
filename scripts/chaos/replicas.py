"""Faults of several control planes that share a PostgreSQL server, and of that server."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Final

from scripts.chaos.plan import Fault
from tests.support.postgres import PostgresServer
from tests.support.replica_stack import ReplicaStack
from tests.support.stack import wait_until

LEADS_WITHIN: Final = 60.0  # seconds: a lease lasts 5


class ReplicaFaults:
    """The faults by their kinds, in `do`. Each returns when it is over."""

    def __init__(self, stack: ReplicaStack, postgres: PostgresServer) -> None:
        self._stack, self._postgres = stack, postgres
        self.do: dict[str, Callable[[Fault], None]] = {
            "kill-leader": lambda fault: self._kill(self._leader(), fault.seconds),
            "kill-follower": lambda fault: self._kill(1 - self._leader(), fault.seconds),
            "stop-leader": self._stop_leader,
            "kill-postgresql": self._kill_postgres,
            "restart-postgresql": self._restart_postgres,
        }

    def _leader(self) -> int:
        wait_until(lambda: self._stack.leader() >= 0, LEADS_WITHIN, "a control plane leads")
        return self._stack.leader()

    def _kill(self, number: int, seconds: float) -> None:
        self._stack.replicas[number].kill()
        time.sleep(seconds)
        self._stack.replicas[number] = self._stack.start_replica(number)
        self._stack.replicas[number].expect("control_plane.listening")

    def _stop_leader(self, fault: Fault) -> None:
        leader = self._stack.replicas[self._leader()]
        leader.freeze()
        time.sleep(fault.seconds)
        leader.signal(signal.SIGCONT)

    def _kill_postgres(self, fault: Fault) -> None:
        self._postgres.kill()
        time.sleep(fault.seconds)
        self._postgres.start()

    def _restart_postgres(self, fault: Fault) -> None:
        self._postgres.stop()
        time.sleep(fault.seconds)
        self._postgres.start()
