"""Custom tools are Python functions in files of the operator."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from kubiya_worker import extension_loading, extensions
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools import custom
from kubiya_worker.tools.base import ToolContext, ToolResult
from kubiya_worker.tools.toolset import build_toolset

CONTEXT = ToolContext("e1", "c1", Path("/tmp"), keep_limit=20)


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(custom, "_functions", {})
    monkeypatch.setattr(custom, "_classes", {})
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield


def skill(**configuration: Any) -> dict[str, Any]:
    return {"name": "own", "type": "custom", "configuration": configuration}


async def test_a_functions_signature_is_what_the_model_is_told(tmp_path: Path) -> None:
    @extensions.tool
    def open_ticket(title: str, level: Literal["low", "high"] = "low", tags: list[str] | None = None) -> dict[str, Any]:
        """Open a ticket."""
        return {"title": title, "level": level}

    toolset = build_toolset([], workspace=tmp_path)
    (spec,) = toolset.specs
    assert (spec.name, spec.description, spec.source, spec.taints) == ("open_ticket", "Open a ticket.", "custom", True)
    assert spec.parameters["properties"] == {
        "title": {"type": "string"},
        "level": {"enum": ["low", "high"]},
        "tags": {"type": ["array", "null"], "items": {"type": "string"}},
    }
    assert spec.parameters["required"] == ["title"]
    tool = toolset.get("open_ticket")
    assert tool is not None
    result = await tool.run({"title": "x" * 50}, CONTEXT)
    assert result.output.startswith('{"title": "xxxxxxxxx\n… ')


async def test_async_functions_get_the_context_and_errors_are_results(tmp_path: Path) -> None:
    @extensions.tool(risk="low", effects=(), taints=False, idempotent=True)
    async def where(context: ToolContext) -> ToolResult:
        """Say where."""
        return ToolResult(context.execution_id)

    @extensions.tool
    def fail() -> str:
        """Fail."""
        raise LookupError("nothing there")

    toolset = build_toolset([], workspace=tmp_path)
    tools = {name: tool for name in ("where", "fail") if (tool := toolset.get(name))}
    assert tools["where"].spec.parameters["properties"] == {} and tools["where"].spec.effects == ()
    assert (await tools["where"].run({}, CONTEXT)).output == "e1"
    assert (await tools["fail"].run({}, CONTEXT)).error == "LookupError: nothing there"


def test_a_skill_names_what_is_not_for_everybody(tmp_path: Path) -> None:
    @extensions.tool(by_skill=True)
    def restart(host: str) -> str:
        """Restart a host."""
        return host

    @extensions.tool
    class Tickets:
        spec = custom.spec_of(restart, name="tickets")

        def __init__(self, config: dict[str, Any]) -> None:
            if "url" not in config:
                raise ValueError("`url` is missing")

        async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
            return ToolResult("")

    def names(*skills: dict[str, Any]) -> list[str]:
        return [spec.name for spec in build_toolset(skills, workspace=tmp_path).specs]

    assert names() == []
    assert names(skill()) == names(skill(custom_class="restart")) == ["restart"]
    assert names(skill(custom_class="Tickets", custom_config={"url": "x"})) == ["tickets"]
    for wrong, message in [
        (skill(custom_class="os.system"), "not registered on this worker. Registered: restart, Tickets"),
        (skill(custom_class="Tickets"), "`url` is missing"),
        (skill(custom_class="restart", custom_config={"a": 1}), "absent unless"),
    ]:
        with pytest.raises(ConfigurationError) as caught:
            names(wrong)
        assert message in caught.value.line()


@pytest.mark.parametrize("hint", [set, bytes, "int | str"])
def test_a_type_that_has_no_json_form_is_refused_where_it_is_written(hint: Any) -> None:
    def function(x: Any) -> None: ...

    function.__annotations__["x"] = hint
    with pytest.raises(ValueError, match="no JSON form"):
        extensions.tool(function)


def test_files_and_folders_are_loaded_and_each_fault_names_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    activity = "from temporalio import activity\n\n@activity.defn\nasync def {}() -> None: ...\n"
    (folder / "ext_good.py").write_text(activity.format("my_activity"))
    (folder / "ext_twice.py").write_text(activity.format("my_activity"))
    (folder / "ext_taken.py").write_text(activity.format("call_tool"))
    (folder / "ext_broken.py").write_text("x = 1\n1/0\n")
    (folder / "ext_syntax.py").write_text("def\n")
    (folder / "ext_exit.py").write_text("raise SystemExit(1)\n")
    (tmp_path / ".kubiya").mkdir()
    (tmp_path / ".kubiya" / "custom_activities.py").write_text("y = 1\n")
    found = extension_loading.load(f"{folder}, /nonexistent/x.py", {"call_tool"})
    assert [function.__name__ for function in found.activities] == ["my_activity"]
    assert any(name.endswith("custom_activities.py") for name in found.modules)
    text = "\n".join(found.faults)
    assert "ext_broken.py: ZeroDivisionError: division by zero:2" in text and "ext_syntax.py: SyntaxError" in text
    assert "ext_exit.py: SystemExit" in text and "/nonexistent/x.py: there is no such" in text
    assert "the name call_tool is taken" in text and "ext_twice.py: the name my_activity is taken" in text
