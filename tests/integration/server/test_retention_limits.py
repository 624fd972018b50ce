"""A server with a limit removes what is too old, and its page, its API and the command line tell what went, and why."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support import databases
from tests.support.browser import sign_in
from tests.support.stack import Stack, wait_until


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        running.worker()
        yield running


def test_what_is_too_old_goes_and_is_explained(page: Any, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = stack.execute("hello"), stack.execute("hello again")
    for each in (old, new):
        stack.wait(each)
    assert stack.server is not None
    stack.server.popen.terminate()
    stack.server.popen.wait(30)
    with databases.opened(stack.database) as database:
        at = (datetime.now(UTC) - timedelta(days=40)).isoformat()
        database.execute("update executions set created_at = ?, updated_at = ? where id = ?", (at, at, old))
    monkeypatch.setenv("KUBIYA_KEEP_EXECUTIONS", "30")
    stack.start_server()

    def status() -> int:
        return int(stack.http.get(f"{stack.url}/api/v1/executions/{old}", timeout=30).status_code)

    wait_until(lambda: status() == 410, 60, "the old execution is removed")
    assert stack.execution(new)["status"] == "completed"
    assert [each["id"] for each in stack.call("GET", "/executions")] == [new]
    shown = subprocess.run(
        [sys.executable, "-m", "kubiya_worker", "runs", "show", old],
        env={**os.environ, **stack.worker_environment()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shown.returncode != 0 and "--keep-executions 30" in shown.stderr and "'ops'" in shown.stderr, shown.stderr
    sign_in(page, stack, f"#/executions/{old}")
    page.get_by_text("--keep-executions 30").wait_for()
    with databases.opened(stack.database) as database:
        assert database.execute("select count(*) from events where execution_id = ?", (old,)).fetchone() == (0,)
