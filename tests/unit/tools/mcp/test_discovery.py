"""A faulty tool list or answer of an MCP server affects that tool or call, and nothing else."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools import mcp
from kubiya_worker.tools.mcp import answers, names, tool_limits
from kubiya_worker.tools.mcp.discovery import tools_of_server, with_offered_names
from kubiya_worker.tools.mcp.tool_spec import UnusableTool, spec_of

PNG = b"\x89PNG\r\n\x1a\n0000"
SERVER = mcp.parse({"s": {"command": "x"}})[0]


def tool(name: Any = "t", schema: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object"} if schema is None else schema, **more}


def rendered(limit: int = 10_000, **result: Any) -> Any:
    return mcp.render(result, limit)


# -- tools


def test_a_servers_hints_do_not_make_a_tool_trusted() -> None:
    reads, _ = spec_of(SERVER, tool(annotations={"readOnlyHint": True}))
    assert reads.risk == "medium" and reads.taints and reads.idempotent
    assert spec_of(SERVER, tool(annotations={"destructiveHint": True}))[0].risk == "high"
    plain, _ = spec_of(SERVER, tool(annotations={"readOnlyHint": "yes"}))
    assert not plain.idempotent and plain.parameters == {"type": "object", "properties": {}} and plain.origin == "s/t"


@pytest.mark.parametrize(
    "broken",
    [{"name": "x"}, tool(None), tool(""), tool(5), tool("x", []), tool("x", "object"), "x", None, tool("a\ud800")],
)
def test_a_malformed_tool_costs_itself_only_and_is_named(broken: Any) -> None:
    with pytest.raises(UnusableTool):
        spec_of(SERVER, broken)
    made = tools_of_server(SERVER, answers.Listing([tool("a"), broken, tool("b")]))
    assert [spec.name for spec in made.specs] == ["a", "b"]
    assert len(made.notices) == 1 and "malformed" in made.notices[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"input_schema": {"type": "object", "properties": {"a": {"type": "str"}}}},
        {"parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}},
        {"inputSchema": '{"type": "object", "properties": {"a": {"type": "string"}}}'},
        {"inputSchema": {"properties": {"a": {"type": "string", "maxLength": 10**400}}}},
    ],
)
def test_a_schema_is_found_under_other_names_and_in_other_words(fields: dict[str, Any]) -> None:
    spec, _ = spec_of(SERVER, {"name": "t", **fields})
    assert spec.parameters == {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize("bound", [10**400, float("inf"), float("nan"), "1", True])
def test_a_bound_that_is_no_number_costs_nothing_else(bound: Any) -> None:
    spec, _ = spec_of(SERVER, tool("t", {"properties": {"a": {"type": "integer", "maximum": bound, "minimum": 1}}}))
    assert spec.parameters["properties"]["a"] == {"type": "integer", "minimum": 1}


def test_tools_are_chosen_by_the_servers_settings() -> None:
    server = mcp.parse({"s": {"command": "x", "tools": ["get_*"]}})[0]
    made = tools_of_server(server, answers.Listing([tool("get_a"), tool("set_a")]))
    assert [spec.name for spec in made.specs] == ["get_a"]


class Pages:
    """A client whose list has pages; it counts how often it was asked."""

    instructions = "Call a first."

    def __init__(self, pages: dict[str, dict[str, Any]]) -> None:
        self.pages, self.asked = pages, 0

    async def list_tools(self, params: Any = None) -> dict[str, Any]:
        self.asked += 1
        return self.pages[params.cursor if params else ""]


async def test_pages_are_read_to_their_end() -> None:
    client = Pages(
        {str(n or ""): {"tools": [tool(f"t{n}")], "nextCursor": str(n + 1)} for n in range(5)} | {"5": {"tools": []}}
    )
    found = await answers.listing(client)
    assert [each["name"] for each in found.tools] == ["t0", "t1", "t2", "t3", "t4"]
    assert found.instructions == "Call a first."


@pytest.mark.parametrize("cursors", [["again", "again"], ["a", "b", "a"], ["a", "b", "c"]])
async def test_pages_that_do_not_end_are_asked_for_at_most_three_times(cursors: list[str]) -> None:
    pages = {"": {"tools": [tool("a"), tool("a")], "nextCursor": cursors[0]}}
    for this, following in zip(cursors, [*cursors[1:], cursors[0]], strict=True):
        pages[this] = {"tools": [tool("a")], "nextCursor": following}
    client = Pages(pages)
    assert len((await answers.listing(client)).tools) == 1 and client.asked <= 3


# -- names


def test_names_that_look_alike_do_not_mix() -> None:
    servers = mcp.parse({name: {"command": "x"} for name in ("team/tracker", "team_tracker", "team")})
    taken: set[str] = set()
    specs: list[ToolSpec] = []
    for server, own in zip(servers, ("echo", "echo", "tracker/echo"), strict=True):
        specs += with_offered_names(server.name, [spec_of(server, tool(own))[0]], taken)
    assert len({spec.name for spec in specs}) == 3
    tools = mcp.tools_of(map(ToolSpec.parse, [spec.wire() for spec in specs]), servers, mcp.SessionPool())
    assert [each.server.name for each in tools if isinstance(each, mcp.McpTool)] == [
        "team/tracker",
        "team_tracker",
        "team",
    ]
    assert [names.own_name(spec, spec.server) for spec in specs] == ["echo", "echo", "tracker/echo"]


def test_a_context_of_an_earlier_version_finds_its_server() -> None:
    old = ToolSpec(name="n", description="", source="mcp", origin="team/tracker/echo")
    assert names.server_of(old, {"team/tracker"}) == "team/tracker"
    assert names.server_of(old, {"team"}) == "team" and names.server_of(old, {"other"}) is None


# -- how much is offered


def many(server: str, count: int, characters: int = 10) -> list[ToolSpec]:
    schema = {"properties": {f"field_{n}": {"type": "string", "description": "w" * characters} for n in range(10)}}
    made = mcp.parse({server: {"command": "x"}})[0]
    return [spec_of(made, tool(f"{server}_{n}", schema))[0] for n in range(count)]


def test_what_fits_is_offered_as_it_is() -> None:
    tools = {"a": many("a", 50), "b": many("b", 50)}
    assert tool_limits.within_limits(tools, 20) == (tools, [])


def test_the_number_of_tools_is_capped_in_total_and_fairly() -> None:
    chosen, notices = tool_limits.within_limits({"a": many("a", 200), "b": many("b", 10), "c": many("c", 90)}, 8)
    assert {name: len(specs) for name, specs in chosen.items()} == {"a": 55, "b": 10, "c": 55}
    assert len(notices) == 2 and "'a': 145 of its 200 tools are left out (a_55, a_56" in notices[0]
    assert all(not specs for specs in tool_limits.within_limits({"a": many("a", 3)}, 200)[0].values())


def test_megabytes_of_schemas_are_shortened_before_a_tool_is_left_out() -> None:
    chosen, notices = tool_limits.within_limits({"big": many("big", 60, 2_000), "small": many("small", 4)}, 0)
    assert len(chosen["big"]) == 60 and chosen["small"] == many("small", 4)
    assert sum(tool_limits.size_of(spec) for spec in chosen["big"]) <= tool_limits.ALL_BYTES
    assert len(notices) == 1 and "'big'" in notices[0] and "shortened" in notices[0]


def test_a_tool_that_is_too_large_all_the_same_is_left_out_and_told() -> None:
    properties = {f"field_{n}": {"enum": [f"value-{n}-{k}" for k in range(400)]} for n in range(50)}
    huge, _ = spec_of(SERVER, tool("huge", {"properties": properties}))
    chosen, notices = tool_limits.within_limits({"s": [huge, spec_of(SERVER, tool("fine"))[0]]}, 0)
    assert [spec.name for spec in chosen["s"]] == ["fine"] and "(huge)" in notices[-1]


def test_instructions_are_bounded_and_say_whose_they_are() -> None:
    found = mcp.DiscoveredTools(instructions={f"s{n}": "x" * 10_000 for n in range(9)})
    assert len(found.briefing) < 20_000 and "MCP server 's0'" in found.briefing
    assert mcp.DiscoveredTools().briefing == ""


# -- results


def test_text_and_data_are_both_given_and_the_same_is_not_given_twice() -> None:
    text = [{"type": "text", "text": "2 hosts found"}]
    both = rendered(content=text, structuredContent={"hosts": ["db-01"]}).output
    assert both == '2 hosts found\n{"hosts": ["db-01"]}'
    data = {"a": 1}
    same = [{"type": "text", "text": json.dumps(data, indent=2)}]
    assert rendered(content=same, structuredContent=data).output == same[0]["text"]
    assert rendered(content=text, structuredContent={"result": "2 hosts found"}).output == "2 hosts found"
    assert rendered(structuredContent={"a": 1}).output == '{"a": 1}'
    assert rendered(content=[], structuredContent=[1]).output == "[1]"


def test_what_is_not_known_is_named() -> None:
    block = {"type": "hologram", "depth": 3}
    result = rendered(content=[block, {"type": "text", "text": "the rest"}, {"no": "type"}, 5, "bare", None])
    assert "hologram" in result.output and "the rest" in result.output and "bare" in result.output
    assert result.error is None


@pytest.mark.parametrize(
    "result",
    [{}, {"content": None}, {"content": []}, {"content": "x"}, {"content": {"type": "text"}}, {"isError": "no"}],
)
def test_a_result_without_content_is_no_failure(result: dict[str, Any]) -> None:
    assert mcp.render(result, 100).error is None and mcp.render(result, 100).output


def test_a_result_of_the_first_protocol_is_shown() -> None:
    assert rendered(toolResult={"a": 1}).output == '{"toolResult": {"a": 1}}'


def test_an_error_of_the_tool_is_one() -> None:
    result = rendered(content=[{"type": "text", "text": "no\nsuch host"}], isError=True)
    assert result.error == "no such host" and result.output == "no\nsuch host"
    assert rendered(isError=True).error == "the server reported an error"


def test_images_and_sounds_become_files_of_the_type_that_they_are() -> None:
    data = base64.b64encode(PNG).decode()
    blocks = [
        {"type": "image", "data": data, "mimeType": "image/jpeg"},
        {"type": "image", "data": f"data:image/png;base64,{data}"},
        {"type": "audio", "data": data.replace("+", "-").rstrip("="), "mimeType": "audio/wav"},
        {"type": "resource", "resource": {"uri": "file:///a.bin", "blob": base64.b64encode(b"abc").decode()}},
        {"type": "image", "data": base64.b64encode(b"no image").decode(), "mimeType": "image/png"},
    ]
    result = rendered(content=blocks)
    kinds = ["image/png", "image/png", "image/png", "application/octet-stream", "application/octet-stream"]
    assert [file.type for file in result.files] == kinds and result.files[0].data == PNG
    assert result.files[3].name == "file:///a.bin" and result.output == ""


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,{data}"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "{data}"}},
        {"type": "image", "url": "data:image/png;base64,{data}"},
    ],
)
def test_an_image_as_the_apis_of_models_write_it_is_one(block: dict[str, Any]) -> None:
    data = base64.b64encode(PNG).decode()
    result = rendered(content=[json.loads(json.dumps(block).replace("{data}", data))])
    assert [(file.type, file.data) for file in result.files] == [("image/png", PNG)] and result.output == ""


def test_an_image_elsewhere_is_told_by_its_address() -> None:
    block = {"type": "image_url", "image_url": {"url": "https://f.test/9.png"}}
    assert rendered(content=[block]).output == "[link: image, https://f.test/9.png]"


@pytest.mark.parametrize("data", [None, 5, "%%%", "AAAA\ud800"])
def test_data_that_cannot_be_decoded_are_named(data: Any) -> None:
    result = rendered(content=[{"type": "image", "data": data, "mimeType": "image/png"}])
    assert result.files == () and "image image/png" in result.output


def test_links_and_resources_say_name_type_and_address() -> None:
    link = {
        "type": "resource_link",
        "uri": "https://f.test/9",
        "name": "report.pdf",
        "mimeType": "application/pdf",
        "size": 9,
    }
    inner = {"uri": "file:///notes.txt", "mimeType": "text/plain", "text": "the notes"}
    output = rendered(content=[link, {"type": "resource", "resource": inner}]).output
    assert (
        output == "[link: report.pdf, application/pdf, 9 bytes, https://f.test/9]\n"
        "[resource file:///notes.txt, text/plain]\nthe notes"
    )


def test_long_results_are_cut_and_odd_text_is_cleaned() -> None:
    result = rendered(50, content=[{"type": "text", "text": "a" * 100 + "\ud800\0"}])
    assert result.output.startswith("a" * 50 + "\n… ") and result.metadata["characters_left_out"] == 52
    assert "\0" not in rendered(content=[{"type": "text", "text": "\ud800\0"}]).output


def test_a_schema_that_allows_anything_and_text_of_another_kind_are_taken() -> None:
    assert spec_of(SERVER, {"name": "a", "inputSchema": True})[0].parameters == {"type": "object", "properties": {}}
    for block in ({"type": "markdown", "text": "**fine**"}, {"type": "Text", "text": "**fine**", "annotations": {}}):
        assert rendered(content=[block]).output == "**fine**"


@pytest.mark.parametrize(
    "page",
    [
        {"tools": [{"type": "function", "function": {"name": "a"}}, {"name": "b"}]},
        {"tools": {"a": {"inputSchema": {}}, "b": {}}},
        {"content": [{"type": "text", "text": '[{"name": "a"}, {"name": "b"}]'}]},
        {"tools": [{"name": "a"}], "next_cursor": "b"},
    ],
)
async def test_a_list_of_tools_in_another_form_is_read(page: dict[str, Any]) -> None:
    class Client:
        async def list_tools(self, params: Any) -> dict[str, Any]:
            return {"tools": [{"name": params.cursor}]} if params else page

    assert [tool["name"] for tool in (await answers.listing(Client())).tools] == ["a", "b"]


def test_a_list_that_is_not_whole_is_told() -> None:
    made = tools_of_server(SERVER, answers.Listing([tool("a")], faults=["the second page failed"]))
    assert [spec.name for spec in made.specs] == ["a"] and made.notices == ["MCP server 's': the second page failed"]


@pytest.mark.parametrize("value", [True, "true", "True", 1, "1"])
@pytest.mark.parametrize("name", ["isError", "is_error"])
def test_an_error_is_one_however_it_is_written(name: str, value: Any) -> None:
    assert rendered(**{name: value}, structuredContent={"why": "no"}).error == '{"why": "no"}'
    assert rendered(**{name: False}, content=[{"text": "fine"}]).error is None


def test_a_block_of_no_type_with_text_is_text() -> None:
    assert rendered(content=[{"text": "fine"}]).output == "fine"
