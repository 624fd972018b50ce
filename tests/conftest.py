"""Prepare the test process: signals, examples that are the same in each run, and the order of the tests."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support import child_transports, database_tests

child_transports.install()

# A shell starts what it puts in the background with SIGINT ignored, `nohup` anything with SIGHUP ignored, and children
# inherit that: none of the processes that tests start would hear a Ctrl-C, or that its terminal is gone.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A busy machine is no fault of what is tested: neither an example that takes long, nor one that takes long to make. And
# each run tries the same examples: one that fails is found by who changed the code.
settings.register_profile(
    "same everywhere", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same everywhere")

TESTS = Path(__file__).parent
QUICK = tuple(TESTS / folder for folder in ("unit", "replay"))


def pytest_configure(config: pytest.Config) -> None:
    """Keep the order below: by itself pytest-xdist begins with the files that hold the most tests, which are quick."""
    config.option.loadscopereorder = False


@pytest.fixture(scope="session")
def shared_temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a Temporal for stacks that neither stop nor slow theirs: a start takes 0.6 s of CPU time.

    A stack's queues, executions and jobs have ids of their own, so it sees nothing of another's.
    """
    from tests.support.stack import Stack  # the small environment of ./scripts/test --unit has not what it needs

    stack = Stack(tmp_path_factory.mktemp("temporal"))
    try:
        stack.start_temporal()
        yield stack.temporal_address
    finally:
        for process in stack.processes:
            process.kill()
        stack.http.close()


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect without the garbage collector: what is collected stays, and each full look at it takes a second."""
    gc.disable()
    try:
        if session.config.args_source is not pytest.Config.ArgsSource.ARGS:
            load_own_share(session.config)
        return (yield)
    finally:
        gc.enable()
        gc.freeze()  # neither do later collections look at it


def load_own_share(config: pytest.Config) -> None:
    """Load the part of all test files that is this worker's of pytest-xdist.

    After a checkout pytest compiles each test file with its assertions rewritten, and each worker would compile all of
    them: this way it finds those of the others compiled.
    """
    about: dict[str, Any] = getattr(config, "workerinput", {})
    if not about:
        return
    number, workers = int(about["workerid"].removeprefix("gw")), int(about["workercount"])
    for path in sorted(TESTS.rglob("test_*.py"))[number::workers]:
        name = ".".join(path.relative_to(TESTS.parent).with_suffix("").parts)
        with contextlib.suppress(Exception, pytest.skip.Exception):  # told when it is collected
            importlib.import_module(name)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the quick tests behind the others; with KUBIYA_TEST_ONLY=database keep those that depend on the database.

    The workers of pytest-xdist take one file after the other. While the last ones run, other workers have nothing to
    do: the last files are better small.
    """
    if os.environ.get("KUBIYA_TEST_ONLY") == "database":
        others = [item for item in items if not database_tests.depends(item)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if database_tests.depends(item)]
    items.sort(key=lambda item: any(item.path.is_relative_to(folder) for folder in QUICK))
