"""`start -d --type=docker` reports how a container ends. The container is a fake; tests/deploy starts real ones."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from kubiya_worker.errors import TemporaryFailure, WorkerError
from kubiya_worker.launch.container_start import ContainerExits, until_it_polls

pytest.importorskip("docker")


class FakeContainer:
    """Ends with these codes, one after the other, then goes on."""

    name = "kubiya-worker-q"

    def __init__(self, *codes: int) -> None:
        self._codes = list(codes)
        self.removed = False
        self.over = threading.Event()

    def wait(self, timeout: float, condition: str) -> dict[str, Any]:
        assert condition == "next-exit"
        if self._codes:
            return {"StatusCode": self._codes.pop(0)}
        self.over.wait()
        raise OSError("the time is up")

    def logs(self, tail: int) -> bytes:
        return b"2026 info worker.starting\nkubiya worker: No such queue. Check --queue-id\n"

    def remove(self, **_: Any) -> None:
        self.removed = True


def _follow(container: Any, wait: float, polls_after: int | None = None) -> list[str]:
    """Return the lines told about a container that polls after so many ends were told (None: it never polls)."""
    said: list[str] = []
    try:
        until_it_polls(
            container, ContainerExits(container, wait), wait, lambda _: len(said) == polls_after, said.append
        )
    finally:
        container.over.set()
    return said


@pytest.mark.parametrize("code", [64, 77, 78])
def test_what_no_restart_mends_is_the_workers_own_word_and_code_and_leaves_nothing(code: int) -> None:
    container = FakeContainer(code)
    with pytest.raises(WorkerError) as caught:
        _follow(container, wait=60)
    assert (caught.value.exit_code, caught.value.line()) == (code, "No such queue. Check --queue-id")
    assert container.removed


def test_what_a_restart_may_mend_is_told_and_waited_for() -> None:
    container = FakeContainer(69, 75)
    said = _follow(container, wait=60, polls_after=2)
    assert said == [f"the worker ended with exit code {code}; the engine starts it again" for code in (69, 75)]
    assert not container.removed


def test_one_that_does_not_poll_in_time_is_left_and_told() -> None:
    container = FakeContainer()
    with pytest.raises(TemporaryFailure, match=r"does not poll after 0\.3 s; it goes on trying"):
        _follow(container, wait=0.3)
    assert not container.removed
