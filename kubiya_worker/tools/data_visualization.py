"""Skill `data_visualization`: diagrams as Mermaid text, checked before they are shown.

A model writes the diagram; what cannot be drawn, or would run something in the page that draws it, goes back to it with
the line that is wrong. The check knows each kind's form well enough to find what models get wrong; it is no parser.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult, refusal
from kubiya_worker.tools.skill_configuration import Skill


class DiagramKind(NamedTuple):
    """A kind of diagram: its tool, the first words of its text, its purpose, an example, a check of its lines."""

    tool: str
    header: str  # regular expression of the first line
    what: str
    example: str
    statement: str = ""  # regular expression that each further line matches; empty: any
    blocks: str = ""  # words that open a block which `end` closes
    needs: str = ""  # regular expression that some line matches
    brackets: bool = False  # whether each line's brackets are in pairs


_DATED: Final = (
    r"(title|section) .+|(dateFormat|axisFormat|tickInterval|excludes|includes|todayMarker|weekday|weekend)\b.*"
    r"|[^:]+:.+"
)
KINDS: Final[dict[str, DiagramKind]] = {
    "enable_flowchart": DiagramKind(
        "create_flowchart",
        r"(flowchart|graph)( (TB|TD|BT|RL|LR))?;?",
        "steps and decisions",
        "flowchart TD\n  A[Start] --> B{Works?}\n  B -- yes --> C[Done]",
        blocks="subgraph",
        brackets=True,
    ),
    "enable_sequence": DiagramKind(
        "create_sequence_diagram",
        r"sequenceDiagram",
        "messages between participants, in order",
        "sequenceDiagram\n  Alice->>Bob: Hello\n  Bob-->>Alice: Hi",
        blocks="loop|alt|opt|par|critical|break|rect|box",
        needs=r".+(-|--)(>>?|x|\)).+:.*",
    ),
    "enable_class_diagram": DiagramKind(
        "create_class_diagram", r"classDiagram(-v2)?", "classes and how they relate", "classDiagram\n  Animal <|-- Dog"
    ),
    "enable_er_diagram": DiagramKind(
        "create_er_diagram",
        r"erDiagram",
        "entities and their relations",
        "erDiagram\n  CUSTOMER ||--o{ ORDER : places",
    ),
    "enable_gantt": DiagramKind(
        "create_gantt_chart",
        r"gantt",
        "tasks over time",
        "gantt\n  dateFormat YYYY-MM-DD\n  section Work\n  Plan :a1, 2026-01-01, 5d",
        statement=_DATED,
        needs=r"[^:]+:.+",
    ),
    "enable_pie_chart": DiagramKind(
        "create_pie_chart",
        r"pie( showData)?( title .+)?",
        "shares of a whole",
        'pie title Disk\n  "logs" : 60\n  "data" : 40',
        statement=r'"[^"]+"\s*:\s*\d+(\.\d+)?|title .+|showData',
        needs=r'".+:.+',
    ),
    "enable_state_diagram": DiagramKind(
        "create_state_diagram",
        r"stateDiagram(-v2)?",
        "states and what leads from one to another",
        "stateDiagram-v2\n  [*] --> Idle\n  Idle --> Busy : job",
    ),
    "enable_git_graph": DiagramKind(
        "create_git_graph",
        r"gitGraph( (LR|TB|BT))?:?",
        "commits and branches",
        "gitGraph\n  commit\n  branch fix\n  commit\n  checkout main\n  merge fix",
        statement=r"(commit|branch|checkout|switch|merge|cherry-pick)\b.*",
        needs=r"commit\b.*",
    ),
    "enable_user_journey": DiagramKind(
        "create_user_journey",
        r"journey",
        "a user's steps, each with a score from 1 to 5",
        "journey\n  title A day\n  section Work\n    Log in: 5: Me",
        statement=r"title .+|section .+|[^:]+:\s*[1-5]\s*(:.*)?",
        needs=r"[^:]+:\s*[1-5].*",
    ),
    "enable_quadrant_chart": DiagramKind(
        "create_quadrant_chart",
        r"quadrantChart",
        "points by two measures from 0 to 1",
        "quadrantChart\n  x-axis Low --> High\n  y-axis Low --> High\n  Alpha: [0.3, 0.6]",
        statement=r"(title|x-axis|y-axis|quadrant-[1-4]) .+|classDef .+"
        r"|.+:\s*\[\s*(0(\.\d+)?|1(\.0+)?)\s*,\s*(0(\.\d+)?|1(\.0+)?)\s*\].*",
    ),
}
THEMES: Final = ("default", "neutral", "dark", "forest", "base")
TYPES: Final = ("data_visualization", "diagrams")
KEYS: Final = {
    **{key: f"Whether there is {kind.tool} (true)" for key, kind in KINDS.items()},
    "max_diagram_size": "Characters of one diagram, up to 100,000 (50000)",
    "theme": f"One of {' '.join(THEMES)} (default)",
}
_BRACKETS: Final = {")": "(", "]": "[", "}": "{"}
# Text that would change the page that draws the diagram, or run something in it.
_ACTIVE: Final = re.compile(
    r"%%\s*\{|^\s*(click|callback|link|links|href)\b|javascript:|data:text|<\s*/?\s*(script|iframe|img|svg|object|embed|a|form)\b"
    r"|\bon\w+\s*=",
    re.IGNORECASE | re.MULTILINE,
)


def build(skill: Skill, workspace: Path) -> list[Tool]:
    limit = int(skill.number("max_diagram_size", 50_000, 100, 100_000))
    theme = skill.text("theme", "default") or "default"
    if theme not in THEMES:
        raise skill.wrong("theme", f"one of {', '.join(THEMES)}")
    return [Diagram(kind, limit, theme) for key, kind in KINDS.items() if skill.flag(key, True)]


class Diagram:
    """The tool `create_…`, with the arguments `{diagram, title?}`."""

    def __init__(self, kind: DiagramKind, limit: int, theme: str) -> None:
        self._kind, self._limit, self._theme = kind, limit, theme
        self.spec = ToolSpec(
            name=kind.tool,
            description=f"Draw a diagram of {kind.what}, as Mermaid text. For example:\n{kind.example}",
            parameters={
                "type": "object",
                "properties": {
                    "diagram": {"type": "string", "minLength": 1, "description": "Mermaid text with its first line"},
                    "title": {"type": "string", "maxLength": 200},
                },
                "required": ["diagram"],
                "additionalProperties": False,
            },
            idempotent=True,
            timeout=10,
        )

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        text = _without_fence(str(arguments["diagram"]))
        if len(text) > self._limit:
            return refusal(f"The diagram has {len(text)} characters; {self._limit} are the most")
        wrong = check(self._kind, text)
        if wrong:
            return refusal(f"{wrong}. An example that can be drawn:\n{self._kind.example}")
        head = []
        if arguments.get("title"):
            title = str(arguments["title"]).replace("\\", "\\\\").replace('"', '\\"')
            head.append(f'title: "{" ".join(title.split())}"')
        if self._theme != "default":
            head.append(f"config:\n  theme: {self._theme}")
        front = "---\n" + "\n".join(head) + "\n---\n" if head else ""
        diagram = f"{front}{text}"
        return ToolResult(f"```mermaid\n{diagram}\n```", metadata={"diagram": self._kind.tool, "characters": len(text)})


def check(kind: DiagramKind, text: str) -> str | None:
    """Return what is wrong with a diagram, with the line's number; None if nothing was found."""
    active = _ACTIVE.search(text)
    if active or "```" in text:
        fence = active[0].strip() if active else "```"
        return f"`{fence}` is not allowed in a diagram: it draws, and does nothing else"
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("%%")]
    if not lines or not re.fullmatch(kind.header, lines[0][1]):
        return f"The first line has to be like `{kind.example.splitlines()[0]}`"
    body = lines[1:]
    if not body:
        return "There is nothing after the first line"
    return _statements(kind, body) or _blocks(kind, body) or (_balanced(body) if kind.brackets else None)


def _statements(kind: DiagramKind, body: list[tuple[int, str]]) -> str | None:
    for number, line in body:
        if kind.statement and not re.fullmatch(kind.statement, line) and not re.match(r"acc(Title|Descr)\b", line):
            return f"Line {number} cannot be understood: {line[:100]}"
    if kind.needs and not any(re.fullmatch(kind.needs, line) for _, line in body):
        return "Nothing in it can be drawn"
    return None


def _blocks(kind: DiagramKind, body: list[tuple[int, str]]) -> str | None:
    if not kind.blocks:
        return None
    opened: list[int] = []
    for number, line in body:
        if re.match(rf"({kind.blocks})\b", line):
            opened.append(number)
        elif re.fullmatch(r"end;?", line):
            if not opened:
                return f"Line {number}: an `end` without a beginning"
            opened.pop()
    return f"Line {opened[-1]}: a block that no `end` closes" if opened else None


def _balanced(body: list[tuple[int, str]]) -> str | None:
    """Return the first line of a flowchart with unpaired brackets, ignoring quotes and texts on arrows.

    Return None when all are paired.
    """
    for number, line in body:
        bare = re.sub(r'"[^"]*"', "", line)
        if '"' in bare:
            return f"Line {number}: a quote that is not closed"
        stack: list[str] = []
        for char in re.sub(r"\|[^|]*\|", "", bare):
            if char in "([{":
                stack.append(char)
            elif char in _BRACKETS:
                if stack and stack[-1] == _BRACKETS[char]:
                    stack.pop()
                elif not (char == "]" and ">" in bare):  # the flag's shape: A>text]
                    return f"Line {number}: a `{char}` that nothing opens"
        if stack:
            return f"Line {number}: a `{stack[-1]}` that is not closed"
    return None


def _without_fence(text: str) -> str:
    """Return the diagram without the fence that models like to put around it."""
    match = re.fullmatch(r"\s*```(?:mermaid)?[ \t]*\n(.*?)\n?```\s*", text, re.DOTALL)
    return (match[1] if match else text).strip("\n").rstrip()
