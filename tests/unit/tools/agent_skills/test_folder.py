"""Folders of the Agent Skills standard: what is valid, and what is refused with its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubiya_worker.tools.agent_skills import folder
from kubiya_worker.tools.agent_skills.folder import FolderInvalid

GOOD = (
    "---\nname: disk-report\ndescription: Reports full disks. Use when a disk is full.\n---\n\n# Disk report\n\nLook.\n"
)


def made(place: Path, text: str = GOOD, name: str = "disk-report") -> Path:
    (place / name).mkdir(parents=True)
    (place / name / "SKILL.md").write_text(text)
    return place / name


def test_a_folder_is_read_with_its_files(tmp_path: Path) -> None:
    place = made(tmp_path)
    (place / "scripts").mkdir()
    (place / "scripts" / "report.py").touch()
    (place / ".git").mkdir()
    (place / ".git" / "config").touch()
    skill = folder.read(place)
    assert (skill.name, skill.description) == ("disk-report", "Reports full disks. Use when a disk is full.")
    assert skill.body == "# Disk report\n\nLook."
    assert skill.files() == ["scripts/report.py"]


def test_a_folder_of_folders_and_the_names_that_are_wanted(tmp_path: Path) -> None:
    made(tmp_path)
    made(tmp_path, GOOD.replace("disk-report", "other"), "other")
    (tmp_path / "no-skill").mkdir()
    assert [skill.name for skill in folder.skills_in(tmp_path)] == ["disk-report", "other"]
    assert [skill.name for skill in folder.skills_in(tmp_path, ("other",))] == ["other"]
    assert [skill.name for skill in folder.skills_in(tmp_path / "other")] == ["other"]
    with pytest.raises(FolderInvalid, match="has no skill 'third'"):
        folder.skills_in(tmp_path, ("third",))
    with pytest.raises(FolderInvalid, match=r"has no SKILL\.md"):
        folder.skills_in(tmp_path / "no-skill")


@pytest.mark.parametrize(
    "more",
    [
        "license: Apache-2.0",
        "compatibility: Needs git",
        "metadata:\n  author: someone\n  version: 1",
        "allowed-tools: Bash(git:*) Read",
        "allowed-tools:\n  - Read",
        "version: 2",  # of a product, not of the standard
        "argument-hint: '[file]'",
    ],
)
def test_optional_keys_and_those_of_products_are_taken(tmp_path: Path, more: str) -> None:
    assert folder.read(made(tmp_path, GOOD.replace("\n---\n", f"\n{more}\n---\n", 1))).name == "disk-report"
    windows = made(tmp_path / "w", "\ufeff" + GOOD.replace("\n", "\r\n"))
    assert folder.read(windows).body.startswith("# Disk report")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# No front matter", "does not begin with YAML"),
        ("---\nname: disk-report\n", "does not begin with YAML"),
        ("---\n- a\n---\n", "no mapping"),
        ("---\nname: [\n---\n", "not YAML"),
        (GOOD.replace("name: disk-report\n", ""), "`name` is missing"),
        (GOOD.replace("name: disk-report", "name: 5"), "`name` is missing or no text"),
        (GOOD.replace("disk-report", "Disk-Report"), "must have lowercase letters"),
        (GOOD.replace("disk-report", "disk--report"), "must have lowercase letters"),
        (GOOD.replace("disk-report", "-disk"), "must have lowercase letters"),
        (GOOD.replace("disk-report", "d" * 65), "64 are the most"),
        (GOOD.replace("disk-report", "other"), "must be the name of its folder"),
        (GOOD.replace("Reports full disks. Use when a disk is full.", "' '"), "`description` is missing"),
        (GOOD.replace("Reports", "R" * 1024), "1024 are the most"),
        (GOOD.replace("\n---\n", "\ncompatibility: " + "x" * 501 + "\n---\n", 1), "500 are the most"),
        (GOOD.replace("\n---\n", "\nmetadata: text\n---\n", 1), "`metadata` must be a mapping"),
        (GOOD + "x" * folder.SIZE_LIMIT, "more than 1000000 bytes"),
    ],
)
def test_what_does_not_follow_the_standard_is_refused_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(FolderInvalid, match=said) as raised:
        folder.read(made(tmp_path, text))
    assert str(tmp_path / "disk-report" / "SKILL.md") in str(raised.value)
