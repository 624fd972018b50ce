"""The skill `data_visualization` draws diagrams and refuses what it cannot draw."""

from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.tools.base import Tool, ToolContext, ToolResult
from kubiya_worker.tools.data_visualization import KINDS, DiagramKind, build
from kubiya_worker.tools.skill_configuration import Skill


def tools(**configuration: Any) -> dict[str, Tool]:
    return {tool.spec.name: tool for tool in build(Skill("charts", "data_visualization", configuration), Path("/tmp"))}


async def draw(name: str, diagram: str, title: str = "", **configuration: Any) -> ToolResult:
    arguments = {"diagram": diagram, **({"title": title} if title else {})}
    return await tools(**configuration)[name].run(arguments, ToolContext("e", "c", Path("/tmp")))


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.tool)
async def test_each_kind_draws_its_own_example(kind: DiagramKind) -> None:
    result = await draw(kind.tool, kind.example)
    assert (result.error, result.output) == (None, f"```mermaid\n{kind.example}\n```")


@pytest.mark.parametrize("key", KINDS)
def test_each_switch_takes_its_tool_away(key: str) -> None:
    assert KINDS[key].tool not in tools(**{key: False}) and len(tools(**{key: False})) == len(KINDS) - 1


@pytest.mark.parametrize(
    ("name", "diagram"),
    [
        ("create_flowchart", "graph LR\n A[(db)] -->|a (b| B([x]) & C{{y}}\n subgraph one\n A>flag]\n end"),
        ("create_flowchart", '```mermaid\nflowchart TD\n A["a (b"] --> B\n```'),
        ("create_sequence_diagram", "sequenceDiagram\n loop each\n A->>B: x (y\n end\n B-)A: z"),
        ("create_class_diagram", "classDiagram\n class A {\n +int x\n +run(a) bool\n }\n A <|-- B"),
        ("create_er_diagram", "erDiagram\n A ||--o{ B : has\n A {\n string name\n }"),
        ("create_gantt_chart", "gantt\n title T\n dateFormat YYYY-MM-DD\n A :done, a, 2026-01-01, 2d"),
        ("create_pie_chart", 'pie showData\n title T\n "a" : 1.5'),
        ("create_state_diagram", "stateDiagram\n state A {\n [*] --> B\n }"),
        ("create_quadrant_chart", "quadrantChart\n title T\n x-axis a --> b\n quadrant-1 x\n P: [1, 0]"),
    ],
)
async def test_diagrams_that_models_write_are_drawn(name: str, diagram: str) -> None:
    assert (await draw(name, diagram)).error is None


@pytest.mark.parametrize(
    ("name", "diagram", "message"),
    [
        ("create_flowchart", "sequenceDiagram\n A->>B: x", "The first line"),
        ("create_flowchart", "flowchart TD", "nothing after"),
        ("create_flowchart", "flowchart TD\n A[x --> B", "Line 2: a `[`"),
        ("create_flowchart", "flowchart TD\n A --> B}", "Line 2: a `}`"),
        ("create_flowchart", 'flowchart TD\n A["x] --> B', "a quote"),
        ("create_flowchart", "flowchart TD\n subgraph x\n A --> B", "no `end`"),
        ("create_flowchart", "flowchart TD\n A\n end", "without a beginning"),
        ("create_sequence_diagram", "sequenceDiagram\n participant A", "Nothing in it"),
        ("create_pie_chart", "pie\n logs : 60", "Line 2 cannot"),
        ("create_pie_chart", "pie title x", "nothing after"),
        ("create_user_journey", "journey\n Log in: 9: Me", "Line 2"),
        ("create_quadrant_chart", "quadrantChart\n A: [2, 0.1]", "Line 2"),
        ("create_git_graph", "gitGraph\n push", "Line 2"),
        ("create_flowchart", 'flowchart TD\n A --> B\n click A "https://x.example"', "not allowed"),
        ("create_flowchart", "flowchart TD\n A[<script>x</script>] --> B", "not allowed"),
        ("create_flowchart", "%%{init: {'securityLevel': 'loose'}}%%\nflowchart TD\n A --> B", "not allowed"),
        ("create_flowchart", "flowchart TD\n A[<b onclick=x>] --> B", "not allowed"),
        ("create_flowchart", "flowchart TD\n A --> B\n```\nmore", "not allowed"),
    ],
)
async def test_what_cannot_be_drawn_or_would_act_goes_back_with_its_line(name: str, diagram: str, message: str) -> None:
    assert message in str((await draw(name, diagram)).error)


async def test_theme_title_and_size_are_kept_to() -> None:
    result = await draw("create_pie_chart", 'pie\n "a" : 1', title='My "disk"\nx', theme="dark")
    assert result.output.startswith('```mermaid\n---\ntitle: "My \\"disk\\" x"\nconfig:\n  theme: dark\n---\npie\n')
    assert "100 are the most" in str((await draw("create_pie_chart", "x" * 101, max_diagram_size=100)).error)
