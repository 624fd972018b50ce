"""The configuration of MCP servers is parsed, and what is not understood is refused by name."""

from typing import Any

import pytest

from kubiya_worker import templates
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools import mcp


@pytest.mark.parametrize(
    ("raw", "transport"),
    [
        ({"command": "x"}, "stdio"),
        ({"command": "x", "args": ["a", 1], "env": {"A": 1}, "type": "stdio"}, "stdio"),
        ({"url": "https://h.example/mcp"}, "http"),
        ({"url": "https://h.example/mcp", "type": "streamable_http"}, "http"),
        ({"url": "https://h.example/sse", "transport_type": "sse", "headers": {"A": "{{.secret.B}}"}}, "sse"),
        ({"url": "{{BASE}}/mcp", "type": "http", "command": None}, "http"),
    ],
)
def test_each_transport_is_told_from_its_settings(raw: dict[str, Any], transport: str) -> None:
    assert [server.transport for server in mcp.parse({"s": raw})] == [transport]


def test_a_server_that_is_switched_off_is_none() -> None:
    assert mcp.parse({"s": {"command": "x", "enabled": False}}) == [] == mcp.parse(None)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "exactly one of `command` and `url`"),
        ({"command": "x", "url": "http://h"}, "exactly one"),
        ({"command": "x", "type": "sse"}, "does not fit"),
        ({"url": "http://h", "type": "carrier-pigeon"}, "does not fit"),
        ({"url": "file:///x"}, "not an http(s) URL"),
        ({"url": "http://h:99999/mcp"}, "not an http(s) URL"),
        ({"command": "x", "arguments": []}, "unknown key `arguments`"),
        ({"command": "x", "args": "a b"}, "`args` is not a list"),
        ({"command": "x", "env": ["A=1"]}, "`env` is not an object"),
        ({"command": "x", "timeout": 301}, "from 1 to 300"),
        ({"command": "x", "required": "yes"}, "true or false"),
        ({"command": "x", "read_paths": ["data"]}, "`read_paths` is ['data']. It must be a list of absolute paths"),
        ({"command": "x", "write_paths": 7}, "`write_paths` is 7"),
        ({"command": "x", "grants": ["dokcer"]}, "Did you mean docker?"),
        ({"command": "x", "network": "no"}, "`network` is 'no'"),
        ({"command": "x", "confinement": "partly"}, "`confinement` is 'partly'"),
        ({"command": "x", "confinement": "off", "grants": ["git"]}, "`grants` is ['git']"),
        ({"url": "http://h", "network": False}, "`network` is for a server with a `command`"),
        ("x", "not an object"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(raw: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        mcp.parse({"files": raw})
    assert message in caught.value.line() and "'files'" in caught.value.line()


def test_later_maps_win_by_name() -> None:
    assert mcp.merged({"a": 1, "b": 1}, None, {"b": 2}) == {"a": 1, "b": 2}
    with pytest.raises(ConfigurationError):
        mcp.merged(["a"])


def test_templates_come_from_the_execution_and_never_from_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBIYA_API_KEY", "kby_of_the_worker")
    server = mcp.parse(
        {
            "s": {
                "command": "{{BIN}}",
                "args": ["{{.env.A}}", "{{ KUBIYA_API_KEY }}", "{{.graph.id}}"],
                "env": {"T": "x {{.secret.T}}"},
            }
        }
    )[0]
    resolved = server.resolved({"BIN": "tool", "A": "a", "T": "t"})
    assert (resolved.command, resolved.args) == ("tool", ("a", "{{ KUBIYA_API_KEY }}", "{{.graph.id}}"))
    assert resolved.env == {"T": "x t"}
    with pytest.raises(ConfigurationError, match="the secret T is not there"):
        server.resolved({})
    assert server.key != resolved.key and "x t" not in resolved.key


def test_a_value_is_not_itself_a_template() -> None:
    assert templates.resolve("{{A}}", {"A": "{{B}}", "B": "b"}, "") == "{{B}}"


def test_names_fit_what_providers_take_and_stay_apart() -> None:
    taken: set[str] = set()
    for server, tool in [("s", "read"), ("s", "r.e a/d"), ("s", "r_e_a_d"), ("x" * 70, "y" * 70), ("x" * 70, "z" * 70)]:
        name = mcp.provider_name(server, tool, taken)
        assert len(name) <= 64 and name.startswith("mcp__") and name not in taken
        assert all(char.isascii() and (char.isalnum() or char in "_-") for char in name)
        taken.add(name)
    assert "mcp__s__read" in taken
