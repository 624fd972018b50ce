"""The page calls an execution by one word: it is no run there. The verb, as in *Run again*, is another thing."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "kubiya_worker" / "server" / "dashboard"
NOUN = re.compile(r"\b(?:an?|the|this|its|whole|next|missed) runs?\b|\bruns?'s\b|^Runs$", re.IGNORECASE)


def shown(name: str, text: str) -> list[str]:
    """Return the words that people can see: texts between tags of a document, and the strings of a script."""
    if name.endswith(".html"):
        return [one.strip() for one in re.findall(r">([^<>]*)<", text)]
    lines = [line for line in text.splitlines() if not line.strip().startswith("//")]
    strings = [pair for line in lines for pair in re.findall(r'"([^"]*)"|`([^`]*)`', line)]
    return [one for pair in strings for one in pair if one and one != "runs"]  # a key of the API's answers


def test_the_page_says_execution() -> None:
    found = {
        (path.name, words)
        for path in PAGE.iterdir()
        if path.suffix in (".js", ".html")
        for words in shown(path.name, path.read_text())
        if NOUN.search(words)
    }
    assert found == set()


def test_the_check_sees_the_other_word() -> None:
    def told(name: str, text: str) -> bool:
        return any(NOUN.search(words) for words in shown(name, text))

    assert told("a.html", "<h3>Runs</h3>") and told("a.js", 'el("p", {}, "While a run is still going")')
    assert told("a.js", "`the run's end`") and told("a.js", '["Next runs", x]')
    assert not told("a.html", "<button>Run now</button>") and not told("a.js", '"Run again from here", "one that runs"')
