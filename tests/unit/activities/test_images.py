"""Images of tool results for a model call: the latest ones, within limits, and the stored conversation untouched."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.activities import images
from kubiya_worker.models.base import ModelRequest
from kubiya_worker.models.connection import GATEWAY, Connection
from kubiya_worker.models.vision import takes_images
from kubiya_worker.models.wire.chat_request import body_of
from kubiya_worker.tools import results


def conversation(workspace: Path, count: int) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for n in range(count):
        path = results.keep(workspace, f"c{n}", "png", b"\x89PNG%d" % n)
        call = {"id": f"c{n}", "name": "shot", "arguments": "{}"}
        made.append({"role": "assistant", "content": "", "message_id": f"a{n}", "tool_calls": [call]})
        image = {"path": path, "type": "image/png"}
        made.append(
            {"role": "tool", "content": "shot", "tool_call_id": f"c{n}", "tool_name": "shot", "images": [image]}
        )
    return made


def test_the_latest_images_are_read_and_the_messages_stay_as_they_are(tmp_path: Path) -> None:
    messages = conversation(tmp_path, 10)
    before = [dict(message) for message in messages]
    shown = images.with_images(messages, tmp_path)
    assert messages == before and images.any_images(messages)
    found = [message[images.DATA] for message in shown if images.DATA in message]
    assert found == [[("image/png", b"\x89PNG%d" % n)] for n in range(2, 10)]
    sent = body_of("m", ModelRequest("m", "", shown), Connection(GATEWAY, "http://gateway.example", "k"))["messages"]
    seen = [message["content"][1]["image_url"]["url"] for message in sent if message["role"] == "user"]
    assert [base64.b64decode(url.partition("base64,")[2]) for url in seen] == [b"\x89PNG%d" % n for n in range(2, 10)]
    assert next(message["content"] for message in sent if message["role"] == "tool") == "shot"


def test_an_image_that_is_gone_or_too_large_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = conversation(tmp_path, 2)
    (tmp_path / messages[1]["images"][0]["path"]).unlink()
    monkeypatch.setattr(images, "BYTES", 3)
    assert images.with_images(messages, tmp_path) == messages
    odd: list[dict[str, Any]] = [
        {"role": "tool", "images": x}
        for x in (None, "x", [1], [{"path": 5}], [{"path": "/etc/passwd", "type": "image/png"}])
    ]
    assert images.with_images(odd, tmp_path) == odd


@pytest.mark.parametrize(
    "model",
    [
        *(
            "claude-sonnet-4",
            "bedrock:anthropic.claude-3-5-sonnet-20241022-v2:0",
            "gpt-4o-mini",
            "openai/gpt-5.2",
            "o3",
            "gpt-4.1",
        ),
        *(
            "gemini/gemini-2.5-pro",
            "qwen2.5-vl-72b",
            "llava:13b",
            "meta-llama/Llama-3.2-11B-Vision",
            "grok-4",
            "amazon.nova-pro-v1:0",
        ),
    ],
)
def test_models_that_take_images(model: str) -> None:
    assert takes_images(model, {}) and not takes_images(model, {"vision": False})


@pytest.mark.parametrize(
    "model",
    [
        "mcp/image",
        "deepseek-chat",
        "gpt-3.5-turbo",
        "llama-3.1-70b",
        "mistral-7b",
        "o1-mini",
        "demo",
        "qwen2.5-coder",
        "turbo3",
    ],
)
def test_models_that_take_none_or_are_not_known(model: str) -> None:
    assert not takes_images(model, {}) and takes_images(model, {"vision": True})
