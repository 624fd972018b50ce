"""Start a long command at most once, whoever tries: the folder decides, by its lock and the file `started`."""

from __future__ import annotations

import dataclasses
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kubiya_worker._supervisor.posix import kept, processes
from kubiya_worker.tools.confinement import support
from kubiya_worker.tools.long_commands.folder import CommandFolder
from kubiya_worker.tools.processes.programs import Pipe

START_WITHIN: Final = 45.0  # seconds from the keeper's start to the file `started`, on a host that is very busy
TRIES: Final = 3  # a keeper that is killed before it has started anything is replaced
_LOOK_EVERY: Final = 0.02
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
_BOOT: Final = (
    "import sys; sys.path.append(sys.argv[1]); from kubiya_worker.tools.long_commands import keeper; keeper.main()"
)
_PASSED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_RUNTIME_DIR")  # nothing of the worker's own


@dataclass(frozen=True)
class LongCommand:
    """This is what to run, for whom, and how it is confined. `remote`: its output may come from other hosts."""

    execution_id: str
    tool_call_id: str
    workflow_id: str
    host: str
    pipe: Pipe
    timeout: float  # seconds
    remote: bool = False
    refused: str = ""  # what the model is told where the kernel may have refused something

    def facts(self) -> dict[str, Any]:
        """Return what is kept of it on the disk: no arguments, no variables, because these can be secret."""
        own = processes.table().one(os.getpid())
        return {
            "execution_id": self.execution_id,
            "tool_call_id": self.tool_call_id,
            "workflow_id": self.workflow_id,
            "host": self.host,
            "starter": {"pid": os.getpid(), "start": own.start if own else ""},
            "programs": [program.argv[0] for program in self.pipe.programs],
            "timeout": self.timeout,
            "remote": self.remote,
            "refused": self.refused,
            "at": time.time(),
        }

    def order(self, folder: CommandFolder) -> dict[str, Any]:
        """Return what the keeper is told, over a pipe."""
        return {
            "folder": str(folder.path),
            "keep": os.environ.get(kept.VARIABLE, ""),
            "confinement": support.mode(),
            "tool_call_id": self.tool_call_id,
            "programs": [dataclasses.asdict(program) for program in self.pipe.programs],
            "cwd": str(self.pipe.cwd),
            "env": dict(self.pipe.env),
            "timeout": self.timeout,
            "profile": None if self.pipe.profile is None else dataclasses.asdict(self.pipe.profile),
            "input": self.pipe.input_text,
        }


def start(root: Path, command: LongCommand) -> CommandFolder:
    """Start the command unless it was started before; return its folder. Blocks. Raises OSError."""
    folder = CommandFolder.of_call(root, command.execution_id, command.tool_call_id)
    folder.make()
    deadline = time.monotonic() + START_WITHIN
    tries = 0
    while not folder.was_started():
        lock = folder.locked()
        if lock is not None:
            tries += 1
            try:
                if folder.was_started():
                    break
                folder.write("facts", command.facts())
                fault = _keeper(folder, lock, command)
            finally:
                os.close(lock)
            if fault and tries >= TRIES:
                raise OSError(fault)
        elif time.monotonic() > deadline:
            raise TimeoutError("another process has begun to start it, and has not finished")
        else:
            time.sleep(_LOOK_EVERY)
    return folder


def _keeper(folder: CommandFolder, held: int, command: LongCommand) -> str:
    """Start the keeper, which inherits the lock. Return why nothing was started; "" where the command was."""
    with os.fdopen(os.open(folder.path / "keeper.err", _NEW, 0o600), "wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _BOOT, str(Path(__file__).parents[3])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd="/",
            env={name: os.environ[name] for name in _PASSED if name in os.environ},
            pass_fds=(held,),
            start_new_session=True,
        )
    assert process.stdin is not None and process.stdout is not None
    with process.stdout as answers:
        try:
            with process.stdin as orders:
                orders.write(json.dumps(command.order(folder)).encode())
        except BrokenPipeError:
            pass  # its end says the rest
        ready, _, _ = select.select([answers], [], [], START_WITHIN)
        answer = answers.readline() if ready else b""
    if not ready:
        folder.write("stop", {"why": "it did not start in time"})
        process.kill()
    process.wait()  # the keeper itself is the second process; nobody here waits for it
    if answer or folder.was_started():
        return ""
    lines = (folder.path / "keeper.err").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"its keeper did not start{f': {lines[-1][:300]}' if lines else ''}"
