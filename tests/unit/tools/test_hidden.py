"""What of MCP servers and environments is hidden, and what is not, since results would be unreadable without it."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.tools import hidden, mcp
from kubiya_worker.tools.redact import Redactor

ENVIRONMENT = {"SITE_CODE": "zq81canary", "LOG_LEVEL": "DEBUGGING", "API_KEY": "sk-1234567", "FOLDER": "/tmp/data"}


def of(**settings: Any) -> set[str]:
    kind = {"url": "https://mcp.example.com/mcp"} if "headers" in settings else {"command": "server"}
    return hidden.values(ENVIRONMENT, mcp.parse({"s": {**kind, **settings}})) - hidden.values(ENVIRONMENT)


def test_of_an_environment_what_its_name_says() -> None:
    assert hidden.values(ENVIRONMENT) == {"sk-1234567"}


@pytest.mark.parametrize(
    ("settings", "secret"),
    [
        ({"env": {"CODE": "open-sesame"}}, "open-sesame"),
        ({"env": {"CODE": "{{.secret.SITE_CODE}}"}}, "zq81canary"),
        ({"env": {"CODE": "{{SITE_CODE}}"}}, "zq81canary"),
        ({"env": {"PASSWORD": "six666"}}, "six666"),
        ({"args": ["--code", "{{ .env.SITE_CODE }}"]}, "zq81canary"),
        ({"args": ["--code={{.secret.LOG_LEVEL}}"]}, "DEBUGGING"),
        ({"command": None, "url": "https://h.example/{{SITE_CODE}}/mcp"}, "zq81canary"),
        ({"command": None, "url": "https://h.example/mcp?key=abc123"}, "abc123"),
        ({"command": None, "url": "https://me:letmein1@h.example/mcp"}, "letmein1"),
        ({"headers": {"Authorization": "Bearer {{.secret.SITE_CODE}}"}}, "zq81canary"),
        ({"headers": {"Authorization": "Bearer literal-token"}}, "literal-token"),
        ({"headers": {"X-Tenant": "tenant-0042"}}, "tenant-0042"),
        ({"env": {"ENDPOINT": "https://user:pw@h.example"}}, "https://user:pw@h.example"),
        ({"env": {"CODE": "/9j4AAQSkZJRg/AA"}}, "/9j4AAQSkZJRg/AA"),
    ],
)
def test_credentials_of_servers_are_hidden(settings: dict[str, Any], secret: str) -> None:
    assert secret in of(**settings)
    assert secret not in Redactor(of(**settings)).text(f"the server said: {secret}!")


@pytest.mark.parametrize(
    "settings",
    [
        {"env": {"AWS_REGION": "eu-central-1"}},
        {"env": {"NODE_ENV": "production"}},
        {"env": {"LEVEL": "{{LOG_LEVEL}}"}},
        {"env": {"ANY": "/tmp/reports"}},
        {"env": {"ANY": "https://tracker.example.com/api"}},
        {"env": {"ANY": "short"}},
        {"args": ["{{FOLDER}}", "a-long-argument-of-the-server"]},
        {"headers": {"Accept": "application/json", "User-Agent": "kubiya-worker"}},
    ],
)
def test_what_is_no_credential_can_be_read(settings: dict[str, Any]) -> None:
    assert of(**settings) == set()


def test_a_template_that_nothing_fills_in_hides_nothing() -> None:
    assert of(env={"A": "{{.secret.ABSENT}}"}) == set()
