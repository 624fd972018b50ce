"""`kubiya worker start -d` as PID 1 of a container: the supervisor stays in the foreground. In a real PID namespace."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from tests.support.daemon import KUBIYA, Daemons
from tests.support.processes import UNSHARE, may_unshare
from tests.support.stack import Process, wait_until

PATIENCE = 60.0


pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not may_unshare(), reason="may not make PID namespaces here"),
]


class Container:
    """A worker daemon runs as PID 1 of a namespace; `unshare` ends with its exit code."""

    def __init__(self, daemons: Daemons, **env: str) -> None:
        self.daemons = daemons
        argv = [*UNSHARE, KUBIYA, "worker", "start", "--queue-id", "default", "-d"]
        self.process = Process(argv, daemons.environment(**env), daemons.home)

    @property
    def first(self) -> psutil.Process:
        """PID 1 as it is seen from outside."""
        (found,) = psutil.Process(self.process.pid).children()
        return found

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Another process of the container, as `docker exec` makes it."""
        enter = ["nsenter", "--target", str(self.first.pid), "--pid", "--mount", *argv]
        return subprocess.run(
            enter,
            env=self.daemons.environment(),
            cwd=self.daemons.home,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def until(self, state: str, restarts: int = 0) -> None:
        def reached() -> bool:
            found = self.daemons.state()
            return bool(found["state"] == state and sum(found["restarts"].values()) == restarts)

        wait_until(lambda: (self.daemons.folder() / "state.json").exists(), PATIENCE, "a supervisor runs")
        wait_until(reached, PATIENCE, state)


@pytest.fixture
def container(daemons: Daemons) -> Iterator[Container]:
    made = Container(daemons)
    try:
        made.until("running")
        yield made
    finally:
        made.process.kill()
        daemons.wait_until_gone()


def test_it_is_supervised_and_restarted(container: Container) -> None:
    container.process.expect("PID 1 of a container: the supervisor runs in the foreground; the log is ")
    about = container.run(KUBIYA, "worker", "status")
    assert about.returncode == 0 and "RUNNING" in about.stdout
    execution = container.daemons.stack.execute("hello")
    container.daemons.stack.wait(execution, "completed", "waiting_for_input", "waiting_for_approval")
    before = container.daemons.worker_pid()
    assert container.run("sh", "-c", f"kill -9 {before}").returncode == 0
    container.until("running", restarts=1)
    assert container.daemons.worker_pid() != before


def test_sigterm_of_the_engine_drains_it(container: Container) -> None:
    container.first.send_signal(signal.SIGTERM)  # as `docker stop` does
    assert container.process.wait(PATIENCE) == 0
    log = (container.daemons.folder() / "logs" / "worker.log").read_text()
    assert "worker.drained" in log and "worker.disconnected" in log
    assert not (container.daemons.folder() / "worker.pid").exists()


def test_stop_ends_the_container(container: Container) -> None:
    container.run(KUBIYA, "worker", "stop")  # which may end with the container, before its last word
    assert container.process.wait(PATIENCE) == 0
    assert "worker.drained" in (container.daemons.folder() / "logs" / "worker.log").read_text()


def test_orphans_are_reaped_by_it(container: Container) -> None:
    """PID 1 becomes the parent of processes that `docker exec` leaves behind."""
    program = "import subprocess; subprocess.Popen(['sleep', '0.2'], start_new_session=True)"
    assert container.run(sys.executable, "-c", program).returncode == 0

    def left() -> bool:
        try:
            return any(each.name() == "sleep" for each in container.first.children())  # zombies count
        except psutil.NoSuchProcess:
            return True  # it ended under our eyes

    wait_until(lambda: not left(), PATIENCE, "it has been reaped")


def test_a_killed_supervisor_ends_the_container(container: Container) -> None:
    """The exit code is 137, which the engine's restart policy reads; the kernel ends the other processes."""
    pid = int(container.daemons.pid_file()["pid"])
    assert container.run("sh", "-c", f"kill -9 {pid}").returncode == 0
    assert container.process.wait(PATIENCE) == 137
    container.daemons.wait_until_gone()


def test_what_is_wrong_is_its_exit_code(daemons: Daemons) -> None:
    def ended(**env: str) -> tuple[int, str]:
        made = Container(daemons, **env)
        try:
            return made.process.wait(PATIENCE), (made.process.lines or [""])[-1]
        finally:
            made.process.kill()

    code, said = ended(KUBIYA_API_KEY="kby_wrong")
    assert code == 77 and "refuses the API key" in said
    code, _ = ended(TEMPORAL_NAMESPACE="nope")  # which only the worker finds out
    assert code == 78 and daemons.state()["state"] == "failed"
