"""One instance of a supervisor: what it owns while it runs, and what others find it by."""

from __future__ import annotations

from dataclasses import dataclass

from .logfile import Log
from .posix.control import ControlSocket
from .posix.ownership import Ownership
from .posix.pidfile import PidFile
from .spec import Spec
from .state import StateFile


@dataclass(frozen=True)
class Instance:
    """The parts of an instance: its log, its state file, its lock (`owned`), its PID file and its control socket."""

    spec: Spec
    log: Log
    state: StateFile
    owned: Ownership
    pid_file: PidFile
    control: ControlSocket
