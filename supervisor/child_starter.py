"""The child starter has all that each start of the child needs: the program, its environment, and the output pipe."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .child_run import ChildRun
from .instance import Instance
from .journal import Journal
from .loop import Loop
from .posix.child import Child, output_pipe


class ChildStarter:
    """Start the child, once or again. All its runs write to the same pipe; `output` is the end to read."""

    def __init__(
        self, instance: Instance, environment: Mapping[str, str], notify_address: str, loop: Loop, journal: Journal
    ) -> None:
        """Prepare starts. `environment` is the supervisor's own; `notify_address` is empty without a notify socket."""
        self._instance, self._loop, self._journal = instance, loop, journal
        self._environment = instance.spec.child_environment(environment, notify_address)
        self.output, self._input = output_pipe()

    def start(self) -> ChildRun:
        """Start the child. Raises OSError when no process or no descriptor is left."""
        spec, began, mark = self._instance.spec, self._loop.clock(), os.urandom(8).hex()
        keep = self._instance.owned.descriptor  # guards hold the lock of the instance too
        child = Child(spec.command(), self._environment, mark, self._input, keep)
        return ChildRun(child, began, spec=spec, timers=self._loop.timers, say=self._journal.say)
