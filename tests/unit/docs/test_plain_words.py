"""Docstrings begin with a sentence: the number of those that do not may only fall."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import plain_words
from scripts.plain_words import Fragment, excess, fragments, is_fragment, lowered


def test_no_folder_has_more_fragments_than_its_ceiling() -> None:
    """Mend the new ones. After mending old ones, lower the ceilings: python scripts/plain_words.py --lower."""
    over = excess(plain_words.find(), plain_words.ceilings())
    assert not over, "\n".join(over)


def test_the_ceilings_name_each_folder_and_no_other() -> None:
    assert set(plain_words.ceilings()) == set(plain_words.FOLDERS)


@pytest.mark.parametrize(
    "line",
    [
        "What who leads others adds to.",
        "Whether the file is locked.",
        "Who has sent a heartbeat is live.",
        "How many calls wait.",
        "That it is not there is what was wanted.",
        "Of the last run.",
        "For ever: how many steps are left.",
        "Where a call runs: `env` is the environment for tools.",
        "In a thread: notices what the loop cannot.",
        "With its scheme, and with user and password if it has them.",
        "When the job runs next; None when it does not.",
        "As `kubiya worker status` has it.",
        "None while nobody knows.",
        "Told by the worker.",
        "ConfigurationError for a variable that is not set.",
        "`UsageError` when there is no such queue.",
        "Those that are values of the chart.",
    ],
)
def test_half_a_sentence_is_a_fragment(line: str) -> None:
    assert is_fragment(line)


@pytest.mark.parametrize(
    "line",
    [
        "Return the seconds to wait before the next start.",
        "Whisper nothing.",
        "Ask the control plane which version it has.",
        "The guard ends what is left.",
        "An answer that is too long is cut.",
        "In an outage, the worker keeps its events on disk.",
        "When the backend fails, return inline payloads.",
        "After `stop`, nothing runs any more.",
        "Raise ConfigurationError when the key is missing.",
        "Read the file, or return None.",
        "Set the limit for each queue.",
        "`kubiya worker stop` ends the worker.",
        "422 is the answer to a wrong type.",
        "",
    ],
)
def test_a_sentence_is_none(line: str) -> None:
    assert not is_fragment(line)


def test_all_kinds_of_docstrings_are_read_and_an_empty_module_needs_none() -> None:
    source = "'A module.'\nif x:\n    class A:\n        'Of it.'\n        async def f(self):\n            'Whether.'\n"
    assert [(each.line, each.text) for each in sorted(fragments(source, "a.py"))] == [(4, "Of it."), (6, "Whether.")]
    assert [*fragments("x = 1\n", "b.py")] == [Fragment("b.py", 1, "")]
    assert [*fragments("# only a comment\n", "c.py")] == []


def test_one_more_than_allowed_is_told_with_the_way_to_list_them() -> None:
    found = [Fragment("tests/a.py", 1, "Of it."), Fragment("tests/b.py", 1, ""), Fragment("scripts/a.py", 1, "")]
    (line,) = excess(found, {"tests": 1, "scripts": 1})
    assert line.startswith("tests/ has 2 ") and "at most 1" in line and "plain_words.py tests" in line
    assert excess(found, {"tests": 2, "scripts": 9}) == []


def test_a_ceiling_is_lowered_and_never_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Fragment("tests/a.py", 1, "Of it."), Fragment("scripts/a.py", 1, ""), Fragment("scripts/b.py", 1, "")]
    assert lowered(found, {"tests": 5, "scripts": 1}) == {"kubiya_worker": 0, "supervisor": 0, "scripts": 1, "tests": 1}
    file = tmp_path / "ceilings.json"
    file.write_text(json.dumps(dict.fromkeys(plain_words.FOLDERS, 100)))
    monkeypatch.setattr(plain_words, "ROOT", tmp_path)
    monkeypatch.setattr(plain_words, "CEILINGS", file)
    for folder in plain_words.FOLDERS:
        (tmp_path / folder).mkdir()
    (tmp_path / "tests" / "a.py").write_text('"""Of it."""\n')
    assert plain_words.main(["--lower"]) == 0
    assert json.loads(file.read_text()) == {"kubiya_worker": 0, "supervisor": 0, "scripts": 0, "tests": 1}
    (tmp_path / "tests" / "b.py").write_text("x = 1\n")
    assert plain_words.main([]) == 1 and plain_words.main(["tests/a.py"]) == 0
