"""Many calls in one process, against the scripted endpoint as a program of its own."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from kubiya_worker.models import Endpoint, ModelReply, ModelRequest, Models

from .conftest import SHELL, user

MIB = 1 << 20


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"text": "from the script"}]))
    program = [sys.executable, "-m", "tests.support.model_endpoint", "--port", "0", "--script", str(script)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as endpoint:
        assert endpoint.stdout is not None
        yield endpoint.stdout.readline().strip()
        endpoint.kill()


def http(method: str, url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=60) as answer:
        return json.load(answer)


def test_two_hundred_calls_do_not_grow_the_process(url: str) -> None:
    async def rounds() -> list[int]:
        models = Models(Endpoint(url, "k"), {})
        sizes = []
        for _ in range(4):
            for _ in range(50):
                request = ModelRequest("m", "be brief", [user("hello")], [SHELL], {"temperature": 0})
                *_, reply = [item async for item in models.select("m").stream(request)]
                assert isinstance(reply, ModelReply)
            gc.collect()
            sizes.append(psutil.Process().memory_info().rss)
        await models.close()
        return sizes

    warm, *later = asyncio.run(rounds())
    assert max(later) - warm < 2 * MIB
    assert http("GET", f"{url}/requests")["count"] == 200


def test_the_endpoint_is_controlled_by_http(url: str) -> None:
    def ask() -> str:
        body = {"model": "m", "messages": [user("one two three")]}
        answer = http("POST", f"{url}/chat/completions", body)
        return str(answer["choices"][0]["message"]["content"])

    assert http("GET", f"{url}/models")["data"][0]["id"] == "scripted"
    assert ask() == "from the script"
    http("POST", f"{url}/script", {"tokens": 2, "script": [{"when": "no such words"}]})
    assert ask() == "one two"
    http("POST", f"{url}/script", {"by_step": [{"text": "first step"}]})
    assert ask() == ask() == "first step"
    assert http("GET", f"{url}/requests")["count"] == 4
    http("DELETE", f"{url}/requests")
    assert http("GET", f"{url}/requests")["requests"] == []


def test_the_endpoint_plays_the_demo_model(url: str) -> None:
    http("POST", f"{url}/script", {"script": [], "default": "demo"})

    async def ask() -> ModelReply:
        models = Models(Endpoint(url, "k"), {})
        request = ModelRequest("m", "", [user("run `uptime`")], [SHELL])
        *_, reply = [item async for item in models.select("m").stream(request)]
        await models.close()
        assert isinstance(reply, ModelReply)
        return reply

    assert asyncio.run(ask()).tool_calls[0]["arguments"] == '{"command": "uptime"}'
