"""Settings of MCP servers as other clients write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools import mcp, secret_values
from kubiya_worker.tools.mcp import variables


def server(**settings: Any) -> mcp.McpServer:
    return mcp.parse({"s": settings})[0]


def test_values_are_written_as_json_has_them() -> None:
    env = {"A": True, "B": False, "C": 1, "D": 1.5, "E": "x", "F": None}
    parsed = server(command="x", args=["--on", True, 2], env=env)
    assert parsed.env == {"A": "true", "B": "false", "C": "1", "D": "1.5", "E": "x"}
    assert parsed.args == ("--on", "true", "2")


@pytest.mark.parametrize("key", ["url", "httpUrl", "serverUrl", "server_url"])
def test_each_spelling_of_the_url_is_taken(key: str) -> None:
    assert server(**{key: "https://h.example/mcp"}).url == "https://h.example/mcp"


@pytest.mark.parametrize("kind", ["http", "streamableHttp", "streamable-http", "streamable_http"])
def test_each_spelling_of_the_transport_is_taken(kind: str) -> None:
    assert server(url="https://h.example/mcp", type=kind).transport == "http"
    assert server(url="https://h.example/mcp", transport=kind).transport == "http"


def test_a_server_that_is_disabled_is_none() -> None:
    assert mcp.parse({"s": {"command": "x", "disabled": True}}) == []
    assert len(mcp.parse({"s": {"command": "x", "disabled": False}})) == 1


def test_two_spellings_that_say_different_things_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="httpUrl"):
        mcp.parse({"s": {"url": "https://a.example", "httpUrl": "https://b.example"}})


def test_what_is_for_people_is_taken_and_what_decides_nothing_is_named() -> None:
    parsed = server(command="x", description="Tickets", icon="t.png", autoApprove=["a"], trust=True, alwaysAllow=[])
    assert parsed.ignored == ("autoApprove", "trust")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"command": "x", "timeout": 600_000}, "from 1 to 300"),
        ({"command": "x", "env": {"A": ["b"]}}, "A is no text, number"),
        ({"command": "x", "envFile": ".env"}, "not an absolute path"),
        ({"command": "x", "shared": "yes"}, "true or false"),
        ({"command": "x", "oauth": {"token_url": "https://t"}}, "credentials in `env`"),
        ({"url": "https://h", "oauth": {"token_url": "https://t", "client_id": "a"}}, "`client_secret` is missing"),
        ({"url": "https://h", "oauth": {"issuer": "https://t"}}, "unknown key `issuer`"),
        ({"url": "https://h", "type": "websocket"}, "does not fit"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        mcp.parse({"tickets": settings})
    assert message in caught.value.line() and "'tickets'" in caught.value.line()


def test_timeouts_are_sensible() -> None:
    assert server(command="x", timeout=90).timeout == 90
    assert server(command="x").timeout >= 30
    assert server(command="x", call_timeout=3600, max_call_timeout=10).max_call_timeout == 3600


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${NAME}", "value"),
        ("a ${env:NAME} b", "a value b"),
        ("${NAME:-other}", "value"),
        ("${GONE:-other}", "other"),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY}", ""),
        ("${GONE:-}", ""),
        ("${GONE}", "${GONE}"),
        ("${workspaceFolder}/x", "/desk/x"),
        ("$NAME {NAME} $(NAME)", "$NAME {NAME} $(NAME)"),
    ],
)
def test_variables_are_filled_in(text: str, filled: str) -> None:
    assert variables.fill(text, {"NAME": "value", "EMPTY": ""}, Path("/desk")) == filled


def test_the_workers_own_variables_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBIYA_API_KEY", "kby_of_the_worker")
    monkeypatch.setenv("PATH", "/bin")
    assert variables.fill("${KUBIYA_API_KEY} ${PATH}", {}) == "${KUBIYA_API_KEY} /bin"
    with pytest.raises(ConfigurationError, match="KUBIYA_API_KEY is not in the execution's environment"):
        server(url="https://h.example", headers={"A": "Bearer ${KUBIYA_API_KEY}"}).resolved({})


def test_an_argument_may_have_a_variable_of_a_program() -> None:
    assert server(command="sh", args=["-c", "echo ${UNKNOWN}"]).resolved({}).args == ("-c", "echo ${UNKNOWN}")


def test_an_env_file_adds_variables_and_its_secrets_are_hidden(tmp_path: Path) -> None:
    path = tmp_path / "x.env"
    path.write_text("# comment\nexport API_TOKEN='tok-abcdef-1234'\nMODE=fast # why\nBOTH=file\nno line\n")
    parsed = server(command="x", envFile=str(path), env={"BOTH": "own"})
    assert parsed.resolved({}).env == {"API_TOKEN": "tok-abcdef-1234", "MODE": "fast", "BOTH": "own"}
    assert "tok-abcdef-1234" in secret_values.values({}, [parsed])
    with pytest.raises(ConfigurationError, match="cannot be read"):
        server(command="x", envFile=str(tmp_path / "gone")).resolved({})


def test_client_credentials_are_hidden() -> None:
    oauth = {"token_url": "https://t.example", "client_id": "me", "client_secret": "${CLIENT}"}
    parsed = server(url="https://h.example", oauth=oauth)
    assert "cs-0123456789" in secret_values.values({"CLIENT": "cs-0123456789"}, [parsed])
    assert parsed.resolved({"CLIENT": "cs-0123456789"}).oauth["client_secret"] == "cs-0123456789"


def test_settings_that_differ_share_no_session() -> None:
    base = {"url": "https://h.example", "headers": {"A": "1"}}
    assert server(**base).key == server(**base, timeout=5).key
    assert server(**base).key != server(**{**base, "headers": {"A": "2"}}).key
