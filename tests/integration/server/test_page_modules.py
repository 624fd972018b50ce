"""Modules of the page in a real browser, without a control plane: the files are given to the browser from the disk."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.server.app import FILES, PAGE_HEADERS, TYPES

ORIGIN = "http://page.test"


@pytest.fixture
def modules(page: Any) -> Any:
    def file(route: Any) -> None:
        path = FILES[route.request.url.rsplit("/", 1)[-1]]
        route.fulfill(body=path.read_bytes(), content_type=TYPES[path.suffix], headers=PAGE_HEADERS)

    page.route(f"{ORIGIN}/static/**", file)
    page.route(f"{ORIGIN}/", lambda route: route.fulfill(body="<p>", content_type="text/html", headers=PAGE_HEADERS))
    page.goto(f"{ORIGIN}/")
    return page


def drawn(page: Any, text: str, pieces: int = 0) -> str:
    """Return the HTML that a text is drawn as; with `pieces`, it comes in pieces of that length."""
    told: str = page.evaluate(
        """async ([text, pieces]) => {
            const { Markdown } = await import("/static/message.js");
            const root = document.createElement("div");
            const markdown = new Markdown(root);
            for (let at = pieces; pieces && at < text.length; at += pieces) markdown.show(text.slice(0, at));
            markdown.show(text);
            return root.innerHTML;
        }""",
        [text, pieces],
    )
    return told


TEXT = """# A title

A paragraph with **strong**, *emphasis*, ~~gone~~ and `a < b`.
Its second line.

1. one
2. two
   - inner `code`
   - more

   still two

- [x] done
- [ ] open

| host | use |
| --- | ---: |
| web-1 | **91 %** |
| a\\|b | 3 |

> quoted
> twice

```sh
ls -l # not a title

| not | a table |
```

---
The end: https://example.org/x?a=1, and [a link](https://example.org).
"""


def test_markdown_becomes_elements(modules: Any) -> None:
    told = drawn(modules, TEXT)
    for part in (
        '<p class="prose heading" data-level="1"><strong>A title</strong></p>',
        "<strong>strong</strong>, <em>emphasis</em>, <s>gone</s> and <code>a &lt; b</code>.\nIts second line.",
        '<ul class="md"><li><span class="prose">inner <code>code</code></span></li>',
        "☑ <span",
        '<td>web-1</td><td data-align="right"><strong>91 %</strong></td>',
        "<td>a|b</td>",
        '<blockquote><p class="prose">quoted\ntwice</p></blockquote>',
        "ls -l # not a title\n\n| not | a table |</pre>",
        "<hr>",
        'href="https://example.org/x?a=1"',
    ):
        assert part in told, part
    assert told.count("<ol") == 1 and told.count("<table>") == 1


@pytest.mark.parametrize("pieces", [1, 7])
def test_text_in_pieces_is_drawn_as_the_whole_is(modules: Any, pieces: int) -> None:
    assert drawn(modules, TEXT, pieces) == drawn(modules, TEXT)


def test_no_text_becomes_code_or_loads_anything(modules: Any) -> None:
    asked: list[str] = []
    modules.on("request", lambda request: asked.append(request.url))
    told = drawn(
        modules,
        "<img src=x onerror=alert(1)> [a](javascript:alert(1)) [b](data:text/html,x) "
        '![c](https://evil.example/p.png?q=1) <a href="x">y</a> [d](https://evil.example/"onmouseover="x) <https://evil.example/ok>',
    )
    parts = modules.evaluate(
        """html => [...new DOMParser().parseFromString(html, "text/html").body.querySelectorAll("*")].map(
            element => [element.tagName, element.getAttributeNames().sort().join(" "), element.href || ""])""",
        told,
    )
    link = ["A", "href rel target title"]
    assert parts[0] == ["P", "class", ""]
    assert [part[:2] for part in parts[1:]] == [link] * 3
    assert {part[2].split("/")[2] for part in parts[1:]} == {"evil.example"}
    assert told.count('rel="noopener noreferrer nofollow"') == 3
    assert not [url for url in asked if not url.startswith(ORIGIN)]


def test_a_long_text_is_cut_and_shown_when_asked_for(modules: Any) -> None:
    """A text makes few elements, however it is built; the rest of a table, a list or a text has a button."""
    for text in ("|a|b|\n|-|-|\n" + "|c|d|\n" * 5000, "- x\n" * 5000, "word\n\n" * 8000, "*a* " * 20_000):
        told = modules.evaluate(
            """async text => {
                const { Markdown } = await import("/static/message.js");
                const root = document.createElement("div");
                new Markdown(root).show(text);
                return [root.getElementsByTagName("*").length, root.querySelectorAll("button").length];
            }""",
            text,
        )
        assert told[0] < 1_000 and told[1] >= 1, (text[:10], told)


def test_terminal_sequences_become_colours_or_nothing(modules: Any) -> None:
    text = "\x1b[1;32mok\x1b[0m \x1b]0;title\x07\x1b[38;5;196mred\x1b[39m \x1b[2Kdone\r\n10%\r50%\r100%\nplain"
    told = modules.evaluate(
        """async text => {
            const { ansi, withoutAnsi } = await import("/static/ansi.js");
            const root = document.createElement("pre");
            root.append(ansi(text));
            return [root.innerHTML, withoutAnsi(text)];
        }""",
        text,
    )
    assert told[0] == ('<span class="t-bold t-green">ok</span> <span class="t-red">red</span> done\n100%\nplain')
    assert told[1] == "ok red done\n100%\nplain"


DIAGRAMS = {
    "pie": '---\ntitle: "Disk"\n---\npie\n  "logs" : 60\n  "data" : 40',
    "flowchart": "flowchart TD\n  A[Start] --> B{Works?}\n  B -- yes --> C[Done]\n  B -->|no| A",
    "sequence": "sequenceDiagram\n  participant A as Alice\n  A->>Bob: Hello\n  Bob-->>A: Hi",
    "gantt": "gantt\n  dateFormat YYYY-MM-DD\n  section Work\n  Plan :a1, 2026-01-01, 5d\n  Build :after a1, 3d",
    "quadrant": "quadrantChart\n  x-axis Low --> High\n  y-axis Low --> High\n  Alpha: [0.3, 0.6]",
    "journey": "journey\n  title A day\n  section Work\n    Log in: 5: Me",
    "state": "stateDiagram-v2\n  [*] --> Idle\n  Idle --> Busy : job",
    "er": "erDiagram\n  CUSTOMER ||--o{ ORDER : places",
    "class": "classDiagram\n  Animal <|-- Dog",
}


@pytest.mark.parametrize("kind", DIAGRAMS)
def test_diagrams_are_drawn_and_say_what_they_show(modules: Any, kind: str) -> None:
    told = modules.evaluate(
        """async (text) => {
            const { drawing } = await import("/static/drawing.js");
            const figure = drawing(text);
            const svg = figure.querySelector(".canvas svg");
            return [svg.getAttribute("aria-label"), svg.outerHTML, figure.querySelector("pre").textContent];
        }""",
        DIAGRAMS[kind],
    )
    words = {
        "pie": "Disk. logs 60. data 40",
        "flowchart": "Diagram. Start to Works?. Works? to Done: yes. Works? to Start: no",
        "sequence": "Diagram. Alice to Bob: Hello. Bob to Alice: Hi",
        "gantt": "Diagram. Plan 01-01 to 01-06. Build 01-06 to 01-09",
        "quadrant": "Diagram. Alpha 0.3, 0.6",
        "journey": "A day. Log in 5 · Me",
        "state": "Diagram. ● to Idle. Idle to Busy: job",
        "er": "Diagram. CUSTOMER to ORDER: places",
        "class": "Diagram. Animal to Dog",
    }
    assert told[0] == words[kind] and told[2] == DIAGRAMS[kind]
    assert "NaN" not in told[1] and "undefined" not in told[1] and "style=" not in told[1]


def test_boxes_stand_behind_those_that_lead_to_them_also_in_a_circle(modules: Any) -> None:
    heights = modules.evaluate(
        """async (text) => {
            const { drawing } = await import("/static/drawing.js");
            return [...drawing(text).querySelectorAll("rect.box")].map((box) => Number(box.getAttribute("y")));
        }""",
        DIAGRAMS["flowchart"],
    )
    assert heights == sorted(set(heights)) and len(heights) == 3


@pytest.mark.parametrize(
    "text", ["gitGraph\n  commit", "pie\n  nothing", "gantt\n  Plan :soon, later", "", "flowchart TD\n"]
)
def test_a_diagram_that_cannot_be_drawn_stays_text(modules: Any, text: str) -> None:
    assert modules.evaluate('async (text) => (await import("/static/drawing.js")).drawing(text)', text) is None
    assert '<pre class="code"' in drawn(modules, f"```mermaid\n{text}\n```")


def test_steps_tell_attempts_workers_and_what_a_model_was_given(modules: Any) -> None:
    at = [f"2026-01-01T00:00:{second:02d}Z" for second in range(20)]
    events: list[tuple[str, dict[str, Any], int]] = [
        ("run_started", {}, 1),
        ("message", {"role": "user", "message_id": "u", "content": "hi"}, 1),
        ("message_chunk", {"message_id": "a", "content": "x"}, 2),
        ("reset_chunks", {"message_id": "a"}, 4),
        ("message_chunk", {"message_id": "a", "content": "y"}, 5),
        (
            "message",
            {
                **{"role": "assistant", "message_id": "a", "content": "y", "model": "demo"},
                **{"usage": {"input_tokens": 5, "output_tokens": 2, "cost_usd": 0.5}},
                "step": {"worker_id": "w1", "attempt": 2, "started_at": at[4]},
            },
            6,
        ),
        (
            "tool_started",
            {
                **{"tool_name": "ask", "tool_execution_id": "1", "delegate": "researcher"},
                "step": {"worker_id": "w2", "attempt": 1},
            },
            7,
        ),
        (
            "member_tool_started",
            {
                **{"tool_name": "shell", "tool_execution_id": "r:1", "member_path": ["researcher"]},
                **{"member_execution_id": "r", "step": {"worker_id": "w3", "attempt": 1}},
            },
            8,
        ),
        ("member_tool_completed", {"tool_execution_id": "r:1", "outcome": "unknown", "member_execution_id": "r"}, 9),
        ("tool_completed", {"tool_execution_id": "1", "outcome": "success", "tool_output": "found"}, 10),
        ("approval_requested", {"approval_id": "p", "tool_name": "rm", "tool_args": {}}, 11),
        ("done", {"status": "cancelled"}, 12),
    ]
    found = modules.evaluate(
        """async ([at, events]) => {
            const { Steps } = await import("/static/steps.js");
            const steps = new Steps();
            steps.begin(at[0]);
            events.forEach(([type, data, second], number) => steps.take(type, data, at[second], number + 1));
            const short = (step) => [step.kind, step.name, step.state, step.depth, (step.end - step.start) / 1000];
            const [model] = steps.list.filter((step) => step.kind === "model");
            return {
                list: steps.list.map(short), cost: steps.cost, tokens: steps.tokens, output: model.output,
                attempts: model.attempts.length, inputs: model.inputs, events: model.events,
            };
        }""",
        [at, events],
    )
    assert found["list"] == [
        ["wait", "waits for a worker", "good", 0, 1],
        ["person", "a person", "good", 0, 0],
        ["model", "demo", "good", 0, 5],
        ["worker", "another worker", "waits", 0, 0],
        ["member", "researcher", "good", 0, 3],
        ["tool", "shell", "unknown", 1, 1],
        ["approval", "rm", "unknown", 0, 1],
    ]
    assert (found["tokens"], found["cost"], found["output"]) == (7, 0.5, "y")
    assert (found["attempts"], found["inputs"], found["events"]) == (1, ["m:u"], [3, 4, 5, 6])


def test_a_call_is_closed_when_its_member_is_done_and_stays_as_a_person_left_it(modules: Any) -> None:
    """The browser tells of what is opened later: by then the call may be done, or a person may have chosen."""
    told = modules.evaluate(
        """async () => {
            const { Tool } = await import("/static/tool.js");
            const made = () => {
                const tool = new Tool({ tool_name: "ask_host", tool_execution_id: "1" });
                tool.list = { change: () => {} };
                document.body.append(tool.make());
                tool.started({ tool_arguments: {} });
                tool.inside();
                return tool;
            };
            const events = (tool) => new Promise((done) => {
                tool.element.addEventListener("toggle", () => setTimeout(done), { once: true });
            });
            const done = made();
            done.update();
            const ours = events(done);
            done.completed({ status: "success" });
            await ours; // of the opening, after the end
            done.update();

            const closed = made();
            closed.update();
            await events(closed);
            closed.element.querySelector("summary").click();
            closed.update(); // before the browser tells of the click
            await events(closed);
            closed.update();

            const opened = made();
            opened.update();
            await events(opened);
            opened.completed({ status: "success" });
            opened.update();
            await events(opened);
            opened.element.querySelector("summary").click();
            await events(opened);
            opened.update();

            const { Windowed } = await import("/static/windowed.js");
            const root = document.createElement("div");
            document.body.append(root);
            const listed = new Tool({ tool_name: "ask_host", tool_execution_id: "2" });
            const list = new Windowed(root, { most: 200 });
            list.held = true; // a person reads what is earlier: an item is made after the changes were drawn
            list.push(listed);
            listed.started({ tool_arguments: {} });
            const frame = () => new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)));
            await frame(); // the list has drawn it
            listed.inside();
            await frame();
            return [done, closed, opened, listed].map((tool) => [tool.open, tool.element.open]);
        }"""
    )
    assert told == [[False, False], [False, False], [True, True], [True, True]]
