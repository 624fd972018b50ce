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
