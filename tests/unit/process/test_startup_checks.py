"""Startup checks report a wrong clock or model, and who waits for the worker; they say nothing when all is well."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from kubiya_worker.control_plane import transport
from kubiya_worker.process import startup_checks
from kubiya_worker.process.self_check import HostFindings
from kubiya_worker.settings import Settings
from tests.support.scripted_plane import Reply, ScriptedPlane

REGISTRATION: Any = SimpleNamespace(litellm_api_url="", litellm_api_key="")


FINDINGS = HostFindings(lambda text: text)


def _look(skew: float | None = None, **settings: Any) -> list[Any]:
    async def run() -> None:
        polled = asyncio.Event()
        plane: Any = SimpleNamespace(skew=skew)
        looking = asyncio.create_task(
            startup_checks.check(
                Settings(queue_id="q", api_key="k", **settings), REGISTRATION, plane, polled, {}, FINDINGS
            )
        )
        await asyncio.sleep(0)
        assert not looking.done()  # nothing before the first poll
        polled.set()
        await looking

    with capture_logs() as said:
        asyncio.run(run())
    return [entry for entry in said if entry["log_level"] != "debug"]


@pytest.mark.parametrize(("skew", "way"), [(90.4, "90s ahead of"), (-3600.0, "3600s behind")])
def test_a_clock_that_is_wrong_is_told(skew: float, way: str) -> None:
    (said,) = _look(skew)
    assert said["event"] == "clock.skewed" and way in said["by"] and said["remedy"]
    told = FINDINGS.told()["findings"][-1]
    assert (told["name"], told["status"], told["remedy"]) == ("clock", "warning", said["remedy"])
    assert way in told["message"]


@pytest.mark.parametrize("skew", [None, 0.9, -1.2])
def test_a_clock_that_is_right_is_not(skew: float | None) -> None:
    assert _look(skew) == []


def test_the_first_answer_tells_the_time() -> None:
    assert transport._skew("Thu, 01 Jan 1970 00:00:00 GMT") == pytest.approx(time.time(), abs=60)
    assert transport._skew(None) is None and transport._skew("yesterday") is None


def _models(*names: str, status: int = 200) -> ScriptedPlane:
    plane = ScriptedPlane()
    plane.others = lambda seen: Reply(status, {"data": [{"id": name} for name in names]})
    return plane


def test_a_model_that_the_endpoint_does_not_list_is_told_with_the_nearest() -> None:
    with _models("gpt-4o", "gpt-4o-mini") as endpoint:
        (said,) = _look(model_override="gpt-4oo", openai_base_url=endpoint.url, openai_api_key="sk-1")
    assert said["event"] == "model.unknown" and said["near"] == "gpt-4o" and "--model" in said["remedy"]
    assert [seen.key for seen in endpoint.requests("/models")] == ["Bearer sk-1"]


def test_the_check_can_be_skipped() -> None:
    with _models("gpt-4o") as endpoint:
        given: dict[str, Any] = {
            "model_override": "other",
            "openai_base_url": endpoint.url,
            "skip_model_validation": True,
        }
        assert _look(**given) == [] and not endpoint.seen


@pytest.mark.parametrize(
    ("model", "names", "status"),
    [("gpt-4o", ["gpt-4o"], 200), ("openai/x", ["openai/*"], 200), ("any", [], 200), ("any", ["x"], 404)],
)
def test_what_is_listed_or_cannot_be_known_is_not_told(model: str, names: list[str], status: int) -> None:
    with _models(*names, status=status) as endpoint:
        assert _look(model_override=model, openai_base_url=endpoint.url) == []
        assert endpoint.requests("/models")


def test_a_proxy_s_list_is_compared_without_asking_anybody() -> None:
    proxy = (
        '{"model_list": [{"model_name": "small", "litellm_params": {"model": "x", "api_base": "http://127.0.0.1:1"}}]}'
    )
    given: dict[str, Any] = {"enable_local_proxy": True, "proxy_config_json": proxy}
    assert _look(model_override="small", **given) == []
    (said,) = _look(model_override="smal", **given)
    assert (said["event"], said["near"]) == ("model.unknown", "small")


def test_nobody_is_asked_for_a_model_that_is_not_the_endpoint_s() -> None:
    with _models("x") as endpoint:
        for model in ("demo", "anthropic:claude-x"):
            assert _look(model_override=model, openai_base_url=endpoint.url) == []
        assert not endpoint.seen


def test_the_readiness_socket_gets_one_line(tmp_path: Path) -> None:
    path = tmp_path / "ready.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(30)
        assert _look(readiness_socket=str(path), control_plane_url="http://plane") == []
        connection, _ = listener.accept()
        with connection:
            told = json.loads(connection.makefile().read())
    assert told["pid"] == os.getpid() and told["queue_id"] == "q" and told["control_plane_url"] == "http://plane"
    assert told["worker_dir"] == str(Path.cwd()) and told["start_time"].endswith("+00:00")


def test_a_readiness_socket_that_nobody_listens_on_is_told(tmp_path: Path) -> None:
    (said,) = _look(readiness_socket=str(tmp_path / "gone.sock"))
    assert said["event"] == "readiness.not_told"
