"""`files_from` in definition files: a folder of Agent Skills goes with the definition, or is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.api import Api
from tests.support.commands import Commands

MANIFEST = "---\nname: report\ndescription: Counts lines.\n---\nRun scripts/count.py with password=example12345.\n"
AGENT = """\
kind: Agent
name: reader
spec:
  skills:
    - type: {type}
      configuration:
        files_from: {place}
"""


@pytest.fixture
def report(tmp_path: Path) -> Path:
    place = tmp_path / "skills" / "report"
    (place / "scripts").mkdir(parents=True)
    (place / "SKILL.md").write_text(MANIFEST)
    (place / "scripts" / "count.py").write_text("print('ü')\n")
    (place / "scripts" / "__pycache__").mkdir()
    (place / "scripts" / "__pycache__" / "count.pyc").write_bytes(b"\xff\x00")  # left where somebody has run it
    return place


def written(folder: Path, place: str, kind: str = "agent_skills") -> str:
    (folder / "agent.yaml").write_text(AGENT.format(type=kind, place=place))
    return str(folder / "agent.yaml")


def stored(plane: Api) -> dict[str, str]:
    (skill,) = plane.ask("GET", "/agents/reader").json()["skills"]
    assert set(skill["configuration"]) == {"files"}
    return dict(skill["configuration"]["files"])


def test_a_folder_goes_with_the_definition(plane: Api, kubiya: Commands, tmp_path: Path, report: Path) -> None:
    file = written(tmp_path, "skills")
    kubiya("apply", "-f", file)
    assert stored(plane) == {"report/SKILL.md": MANIFEST, "report/scripts/count.py": "print('ü')\n"}
    assert "1 unchanged" in kubiya("apply", "-f", file).err
    (report / "scripts" / "count.py").write_text("print('v')\n")
    assert "print('v')" in kubiya("diff", "-f", file, code=1).out
    kubiya("apply", "-f", written(tmp_path, "skills/report"))
    assert set(stored(plane)) == {"SKILL.md", "scripts/count.py"}


def test_what_does_not_fit_is_told_with_its_line(kubiya: Commands, tmp_path: Path, report: Path) -> None:
    def told(place: str = "skills", kind: str = "agent_skills") -> str:
        file = written(tmp_path, place, kind)
        error = kubiya("apply", "-f", file, code=78).err
        assert f"{file}:7: spec.skills.0.configuration.files_from: " in error, error
        return error

    assert "Only a skill of the type agent_skills has files_from" in told(kind="shell")
    assert "none cannot be read" in told("none")
    assert "is the path of a folder" in told("5")
    (report / "link").symlink_to("/etc/hostname")
    assert "leads out of the skill's folder" in told()
    (report / "link").unlink()
    (report / "image").write_bytes(b"\xff\xfe")
    assert "is not UTF-8 text; use `git`" in told()
    (report / "image").write_text("x" * 200_001)
    assert "200000 bytes in all" in told()
    (report / "image").unlink()
    (report / "SKILL.md").write_text("no front matter")
    assert "does not begin with YAML" in told()


def test_the_key_of_a_service_in_a_skill_is_refused(kubiya: Commands, tmp_path: Path, report: Path) -> None:
    (report / "scripts" / "count.py").write_text(f"token = 'ghp_{'a1B2' * 9}'\n")
    error = kubiya("apply", "-f", written(tmp_path, "skills"), code=78).err
    assert "A credential in the open" in error
    assert "a1B2a1B2" not in error
