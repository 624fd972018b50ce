"""A server's setting that no worker knows is refused where it is written, with the nearest known name."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.protocol import mcp_keys
from kubiya_worker.tools.mcp import config
from tests.support.api import Api

WRONG = {"tickets": {"url": "https://tickets.example.com/mcp", "excludedTools": ["delete_*"]}}


def test_the_keys_are_those_of_the_worker() -> None:
    assert set(config.KEYS) | {"disabled"} == mcp_keys.OWN
    assert not mcp_keys.OWN & set(mcp_keys.ALIASES)


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/agents", {"name": "a", "configuration": {"mcp_servers": WRONG}}, "mcp_servers"),
        ("POST", "/agents", {"name": "a", "configuration": {"mcpServers": WRONG}}, "mcpServers"),
        ("POST", "/agents", {"name": "a", "execution_environment": {"mcp_servers": WRONG}}, "mcp_servers"),
        ("POST", "/teams", {"name": "t", "configuration": {"mcp_servers": WRONG}}, "mcp_servers"),
        ("POST", "/environments", {"name": "e", "execution_environment": {"mcp_servers": WRONG}}, "mcp_servers"),
    ],
)
def test_an_unknown_key_is_refused(api: Api, method: str, path: str, body: dict[str, Any], field: str) -> None:
    (fault,) = api.call(method, path, body, 422)["detail"]
    assert fault["loc"][-1] == field
    assert fault["msg"].endswith("unknown key 'excludedTools'. Did you mean excludeTools?"), fault


def test_what_other_clients_write_is_taken(api: Api) -> None:
    servers = {"a": {"serverUrl": "https://a.example.com", "alwaysAllow": [], "disabledTools": []}}
    assert api.call("POST", "/agents", {"name": "a", "configuration": {"mcpServers": servers}})["id"]
    servers = {"a": {"command": "x", "network": "off", "envFile": "/x"}}
    assert api.call("POST", "/agents", {"name": "b", "configuration": {"mcp_servers": servers}})["id"]
