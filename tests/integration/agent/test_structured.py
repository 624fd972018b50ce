"""An agent whose answer has to be JSON: through the whole real stack."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
SCHEMA = {"type": "object", "properties": {"load": {"type": "number"}}, "required": ["load"]}


def run(
    stack: Stack, endpoint: ModelEndpoint, queue: str, *script: dict[str, Any], **llm: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the execution's row, and the bodies of its requests."""
    endpoint.script, before = list(script), endpoint.count
    agent = stack.agent(f"s-{uuid.uuid4().hex[:6]}", skills=[SHELL], model_id="gpt-test", llm_config=llm)
    row = stack.wait(stack.execute("What is the load?", agent=agent, queue=queue))
    return row, [request["body"] for request in endpoint.requests[before:]]


def test_the_answer_fits_and_the_model_was_told_how(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    call = {"tools": [{"name": "shell", "arguments": {"command": "echo 0.5"}}]}
    script: list[dict[str, Any]] = [call, {"text": '```json\n{"load": 0.5}\n```'}]
    row, asked = run(stack, endpoint, queue, *script, response_format=SCHEMA)
    assert (row["status"], row["response"]) == ("completed", '{"load": 0.5}')
    assert '"load"' in asked[0]["messages"][0]["content"]


def test_an_answer_that_does_not_fit_is_mended(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    script = [{"text": "The load is 0.5."}, {"text": '{"load": "high"}'}, {"text": '{"load": 0.5}'}]
    row, asked = run(stack, endpoint, queue, *script, structured_outputs=SCHEMA)
    assert (row["status"], json.loads(row["response"])) == ("completed", {"load": 0.5})
    assert "it is no JSON" in asked[1]["messages"][-1]["content"]
    assert 'load is "high", not number' in asked[2]["messages"][-1]["content"]


def test_it_is_told_what_did_not_fit_after_two_more_tries(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    row, asked = run(stack, endpoint, queue, *[{"text": '{"load": "high"}'}] * 4, response_format=SCHEMA)
    assert row["status"] == "failed"
    assert 'load is "high", not number' in row["error_message"]
    assert len(asked) == 3


def test_a_schema_that_cannot_be_honoured_is_refused(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    row, asked = run(stack, endpoint, queue, response_format={"type": "object", "dependentRequired": {}})
    assert row["status"] == "failed" and "dependentRequired" in row["error_message"] and asked == []
