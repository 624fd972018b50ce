"""The tools and notices of MCP servers change during an execution; these tests follow the changes."""

from __future__ import annotations

from typing import Any

from kubiya_worker.protocol import servers


def tool(server: str, name: str, **more: Any) -> dict[str, Any]:
    return {"name": f"mcp__{server}__{name}", "source": "mcp", "server": server, "origin": f"{server}/{name}", **more}


SHELL = {"name": "shell", "source": "skill"}


def names(tools: servers.Tools) -> list[str]:
    return [tool["name"] for tool in tools]


def test_a_servers_tools_are_replaced_and_the_others_stay_where_they_are() -> None:
    tools = [SHELL, tool("a", "x"), tool("b", "y")]
    fresh = servers.replaced(tools, {"a": [tool("a", "x"), tool("a", "z")]})
    assert names(fresh) == ["shell", "mcp__b__y", "mcp__a__x", "mcp__a__z"]
    assert names(servers.replaced(fresh, {"b": []})) == ["shell", "mcp__a__x", "mcp__a__z"]


def test_a_name_that_is_taken_gets_a_hash() -> None:
    twin = {**tool("a b", "x"), "name": "mcp__a_b__x"}
    fresh = servers.replaced([{**tool("a_b", "x")}], {"a b": [twin]})
    assert names(fresh)[0] == "mcp__a_b__x"
    assert names(fresh)[1].startswith("mcp__a_b__x_") and len(set(names(fresh))) == 2


def test_a_request_never_carries_more_tools_than_a_provider_takes() -> None:
    many = [tool("a", str(number)) for number in range(300)]
    assert len(servers.replaced([SHELL], {"a": many})) == servers.MOST_TOOLS


def test_a_note_to_the_model_comes_and_goes() -> None:
    note = servers.starting_note("a")
    prompt = servers.with_note("Be kind.\n\nBe quick.", note)
    assert prompt.endswith(note)
    assert servers.without_note(prompt, note) == "Be kind.\n\nBe quick."
    assert servers.with_note("", note) == note


def test_what_is_missing_is_noted_once_for_each() -> None:
    metadata: dict[str, Any] = {}
    servers.degrade(metadata, servers.SERVER, "a", "gone")
    entry = servers.degrade(metadata, servers.SERVER, "a", "gone for good")
    servers.degrade(metadata, servers.SKILL, "a", "The skill 'a' is not here")
    assert [one["reason"] for one in metadata["degraded"]] == ["gone for good", "The skill 'a' is not here"]
    assert servers.message_of(entry) == "MCP server 'a' cannot be used: gone for good"
    event = servers.notice("e", "x1", servers.message_of(entry), entry)
    assert event["data"]["kind"] == "degraded" and event["data"]["degraded"]["name"] == "a"
