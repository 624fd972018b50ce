"""Files of a run are copied beside its work: what changed, without secrets, and without harm when it cannot be done."""

from __future__ import annotations

import asyncio
import base64
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from kubiya_worker.activities.run_files import HIDDEN, RunFileCopies
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.errors import Refused, Unreachable
from kubiya_worker.protocol import names
from kubiya_worker.tools.redaction import Redactor
from kubiya_worker.tools.workspace_files import CopyLimits

SECRET = "hunter2-of-the-worker"


class Plane:
    """A control plane that keeps files as the real one does, and fails when it is told to."""

    def __init__(self) -> None:
        self.features = {names.FEATURE_RUN_FILES}
        self.run_files = self
        self.stored: dict[tuple[str, str], dict[str, Any]] = {}
        self.sent: list[str] = []
        self.error: Exception | None = None
        self.gate: threading.Event | None = None

    def of(self, execution_id: str) -> list[dict[str, Any]]:
        if self.gate:
            self.gate.wait(60)
        if self.error:
            raise self.error
        return [row for (of, _), row in self.stored.items() if of == execution_id]

    def store(self, execution_id: str, body: dict[str, Any]) -> None:
        import hashlib

        self.sent.append(body["path"])
        data = base64.b64decode(body.get("content") or "")
        digest = hashlib.sha256(data).hexdigest() if "content" in body else ""
        self.stored[execution_id, body["path"]] = {**body, "sha256": digest, "data": data}


def copies(plane: Plane, **limits: Any) -> RunFileCopies:
    return RunFileCopies(cast(ControlPlane, plane), CopyLimits(**limits))


def copied(plane: Plane, workspace: Path, *redactors: Redactor, made: RunFileCopies | None = None) -> RunFileCopies:
    made = made or copies(plane)

    async def run() -> None:
        for redactor in redactors or (Redactor([SECRET]),):
            made.begin("run", workspace, redactor)
        await asyncio.gather(*made._tasks)

    asyncio.run(run())
    return made


def test_only_what_changed_is_sent_again_also_by_another_worker(tmp_path: Path) -> None:
    plane = Plane()
    (tmp_path / "a").write_bytes(bytes(range(256)))
    (tmp_path / "b").write_text("one")
    made = copied(plane, tmp_path)
    assert plane.sent == ["a", "b"] and plane.stored["run", "a"]["data"] == bytes(range(256))
    (tmp_path / "b").write_text("two!")
    copied(plane, tmp_path, made=made)
    copied(plane, tmp_path)  # another worker, which remembers nothing
    assert plane.sent == ["a", "b", "b"] and plane.stored["run", "b"]["data"] == b"two!"


@pytest.mark.parametrize(
    "data",
    [
        SECRET.encode(),
        b"\xff\xfe\0" + SECRET.encode() + b"\0",
        base64.b64encode(f"user:{SECRET}".encode()),
        b"x" * 100_000 + SECRET.encode(),
    ],
)
def test_a_file_with_a_secret_is_named_and_not_sent(tmp_path: Path, data: bytes) -> None:
    plane = Plane()
    (tmp_path / "env").write_bytes(data)
    copied(plane, tmp_path)
    row = plane.stored["run", "env"]
    assert row["refused"] == HIDDEN and "content" not in row


def test_a_secret_of_a_member_and_one_in_a_name_count_too(tmp_path: Path) -> None:
    plane, member = Plane(), "of-the-member-only"
    made = copies(plane)
    (tmp_path / "first").write_text("x")
    copied(plane, tmp_path, Redactor([member]), made=made)
    (tmp_path / "dump").write_text(f"it is {member}")
    (tmp_path / f"{SECRET}.txt").write_text("y")
    copied(plane, tmp_path, made=made)
    assert plane.stored["run", "dump"]["refused"] == HIDDEN
    assert plane.stored["run", "[redacted].txt"]["refused"] == HIDDEN
    assert SECRET not in str(plane.stored) and member not in str(plane.stored)


@pytest.mark.parametrize(
    "error", [Unreachable("away"), Refused("gone", status=404), Refused("full", status=413), RuntimeError("a bug")]
)
def test_whatever_goes_wrong_is_a_line_in_the_log(
    tmp_path: Path, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    plane = Plane()
    plane.error = error
    (tmp_path / "a").write_text("x")
    made = copied(plane, tmp_path)
    assert len(caplog.messages) == (0 if getattr(error, "status", None) == 404 else 1), caplog.messages
    plane.error = None
    copied(plane, tmp_path, made=made)
    assert plane.sent == ["a"]


def test_nothing_waits_for_a_control_plane_that_does_not_answer(tmp_path: Path) -> None:
    plane = Plane()
    plane.gate = threading.Event()
    (tmp_path / "a").write_text("x")

    async def run() -> float:
        made, loop = copies(plane), asyncio.get_running_loop()
        began = loop.time()
        made.begin("run", tmp_path, Redactor([]))
        took = loop.time() - began
        await made.close()
        assert plane.gate
        plane.gate.set()
        return took

    assert asyncio.run(run()) < 30  # and not the 60 s that the control plane takes


def test_it_can_be_switched_off_and_needs_a_control_plane_that_takes_files() -> None:
    assert copies(Plane()).wanted and not copies(Plane(), enabled=False).wanted
    other = Plane()
    other.features = set()
    assert not copies(other).wanted
