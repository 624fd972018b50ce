"""Agent Skills: published folders unchanged, a Git checkout that is pinned, and scripts under the tools' rules."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools.agent_skills import checkout, given
from kubiya_worker.tools.base import ToolArgumentsError, ToolContext, ToolResult, Toolset, expanded
from kubiya_worker.tools.confinement import support
from kubiya_worker.tools.toolset import assemble, build_toolset, prepare

MANIFEST = (
    "---\nname: report\ndescription: Counts lines.\nallowed-tools: Bash(*)\n---\nRun scripts/count.py on a file.\n"
)
SCRIPT = "import os, sys\nprint(len(open(sys.argv[1]).read().splitlines()), os.environ.get('SECRET_TOKEN'))\n"


def raw(**configuration: Any) -> dict[str, Any]:
    return {"name": "know-how", "type": "agent_skills", "configuration": configuration}


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "desk").mkdir()
    return tmp_path / "desk"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    place = tmp_path / "skills" / "report"
    (place / "scripts").mkdir(parents=True)
    (place / "SKILL.md").write_text(MANIFEST)
    (place / "scripts" / "count.py").write_text(SCRIPT)
    return place


@pytest.fixture(autouse=True)
def confined() -> Iterator[None]:
    before = support.mode()
    support.use(support.PREFER)
    yield
    support.use(before)


def call(tools: Toolset, called: str, desk: Path, /, **arguments: Any) -> ToolResult:
    tool = tools.get(called)
    assert tool is not None
    return asyncio.run(tool.run(expanded(tool, arguments), ToolContext("e1", "call-1", desk)))


def digest(place: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(path for path in place.rglob("*") if path.is_file()):
        whole.update(str(path).encode() + path.read_bytes())
    return whole.hexdigest()


def published() -> list[Path]:
    """Return the folders that packages of others bring along, as they were published."""
    found = [
        path.parent for folder in map(Path, sys.path) for path in folder.glob("pydantic_ai/.agents/skills/*/SKILL.md")
    ]
    return found + [p.parent for f in map(Path, sys.path) for p in f.glob("playwright/driver/package/lib/**/SKILL.md")]


def test_ten_published_folders_are_used_unchanged(desk: Path) -> None:
    places = sorted({place.parent for place in published()})
    assert len(published()) >= 10
    before = [digest(place) for place in places]
    tools, missing = assemble(
        [raw(path=str(place)) | {"name": f"s{n}"} for n, place in enumerate(places)], workspace=desk
    )
    assert not missing
    loaders = [spec for spec in tools.specs if spec.name.endswith("load_skill")]
    names = [name for spec in loaders for name in spec.parameters["properties"]["name"]["enum"]]
    assert sorted(names) == sorted(place.name for place in published())
    listed = sum(len(spec.description) for spec in loaders)
    assert listed / len(names) < 600  # characters: some 150 tokens for each
    for spec in loaders:
        for name in spec.parameters["properties"]["name"]["enum"]:
            text = call(tools, spec.name, desk, name=name).output
            place = next(place for place in published() if place.name == name)
            assert (place / "SKILL.md").read_text().split("\n---\n", 1)[1].strip() in text
            for file in (path for path in place.rglob("*.md") if path.name != "SKILL.md"):
                inside = str(file.relative_to(place))
                assert inside in text
                assert call(tools, spec.name, desk, name=name, file=inside).output == file.read_text()
    assert [digest(place) for place in places] == before


def test_a_script_runs_in_the_workspace_and_its_text_is_what_was_approved(report: Path, desk: Path) -> None:
    tools = build_toolset([raw(path=str(report.parent))], workspace=desk)
    loaded = call(tools, "load_skill", desk, name="report")
    assert "scripts/count.py" in loaded.output
    assert "allowed-tools gives no rights here" in loaded.output
    (desk / "lines").write_text("a\nb\n")
    about = {"name": "report", "script": "scripts/count.py", "arguments": ["lines"]}
    result = call(tools, "run_skill_script", desk, **about)
    assert result.output == "2 None\n"
    runner = tools.get("run_skill_script")
    assert runner is not None
    assert runner.spec.risk == "high"
    assert runner.spec.taints
    judged = expanded(runner, about)
    assert judged["sha256"] == hashlib.sha256(SCRIPT.encode()).hexdigest()
    (report / "scripts" / "count.py").write_text("print('something else')\n")
    changed = asyncio.run(runner.run(judged, ToolContext("e1", "call-1", desk)))
    assert changed.metadata == {"refused": True}
    assert "was changed since" in changed.output
    assert expanded(runner, about)["sha256"] != judged["sha256"]


def test_a_script_is_confined(report: Path, desk: Path, tmp_path: Path) -> None:
    if not support.probe().works:
        pytest.skip(support.probe().reason)
    (tmp_path / "other").write_text("private\n")
    (report / "scripts" / "look").write_text(
        f"#!/bin/sh\ncat {tmp_path}/other; echo x > {report}/SKILL.md; cat $SKILL_DIR/SKILL.md; touch here\n"
    )
    (report / "scripts" / "look").chmod(0o755)
    tools = build_toolset([raw(path=str(report))], workspace=desk)
    result = call(tools, "run_skill_script", desk, name="report", script="scripts/look")
    assert "private" not in result.output
    assert MANIFEST in result.output
    assert (report / "SKILL.md").read_text() == MANIFEST
    assert (desk / "here").exists()
    assert "A person can add" in result.output or result.error is None


def test_nothing_outside_of_the_folder_is_read_or_run(report: Path, desk: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.sh").write_text("echo secret\n")
    (report / "link.sh").symlink_to(tmp_path / "secret.sh")
    (report / "data.bin").write_bytes(b"\0\1\2")
    tools = build_toolset([raw(path=str(report))], workspace=desk)
    for file in ("../../secret.sh", str(tmp_path / "secret.sh"), "link.sh", "none", "scripts", "data.bin"):
        assert call(tools, "load_skill", desk, name="report", file=file).metadata == {"refused": True}, file
    for script in ("../../secret.sh", "link.sh", "none", "scripts"):
        with pytest.raises(ToolArgumentsError):
            call(tools, "run_skill_script", desk, name="report", script=script)
    assert "not executable" in call(tools, "run_skill_script", desk, name="report", script="data.bin").output
    assert build_toolset([raw(path=str(report), scripts=False)], workspace=desk).get("run_skill_script") is None


def repository(place: Path, report: Path) -> tuple[str, str]:
    def git(*arguments: str) -> str:
        options = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *options, *arguments], cwd=place, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    place.mkdir()
    git("init", "--quiet", "-b", "main")
    (place / "skills").mkdir()
    report.rename(place / "skills" / "report")
    git("add", "-A")
    git("commit", "--quiet", "-m", "first")
    first = git("rev-parse", "HEAD")
    (place / "skills" / "report" / "SKILL.md").write_text(MANIFEST.replace("Counts lines", "Something else"))
    git("commit", "--quiet", "-a", "-m", "second")
    return f"file://{place}", first


def test_a_commit_is_fetched_once_and_what_came_later_is_not_seen(
    report: Path, desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    url, first = repository(tmp_path / "repository", report)
    skill = raw(git=url, commit=first, folder="skills")
    asyncio.run(prepare([skill]))
    (tmp_path / "repository").rename(tmp_path / "gone")  # the server is not asked again
    tools = build_toolset([skill], workspace=desk)
    loader = tools.get("load_skill")
    assert loader is not None
    assert "- report: Counts lines." in loader.spec.description
    (desk / "lines").write_text("a\n")
    ran = call(tools, "run_skill_script", desk, name="report", script="scripts/count.py", arguments=["lines"])
    assert ran.output == "1 None\n"
    place = checkout.place_of(url, first)
    assert place.is_relative_to(tmp_path / "home" / ".kubiya")
    assert [path.name for path in place.parent.iterdir()] == [first]


def test_a_commit_that_cannot_be_had_is_told_and_nothing_else_is_taken(
    report: Path, desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    url, first = repository(tmp_path / "repository", report)
    for wrong in (
        {"commit": "main"},
        {"commit": first[:12]},
        {"commit": "0" * 40},
        {"folder": "../.."},
        {"folder": "none"},
    ):
        skill = raw(**{"git": url, "commit": first, **wrong})
        asyncio.run(prepare([skill]))
        _, missing = assemble([skill], workspace=desk)
        assert len(missing) == 1, wrong
    for address in ("http://example.com/x", "https://user:pw@example.com/x", "ext::sh -c id", "-x", "git@h:x"):
        with pytest.raises(ConfigurationError, match="`git` is"):
            build_toolset([raw(git=address, commit=first)], workspace=desk)


def test_a_folder_that_the_model_could_change_is_refused(desk: Path) -> None:
    (desk / "report").mkdir()
    (desk / "report" / "SKILL.md").write_text(MANIFEST)
    with pytest.raises(ConfigurationError, match="`path` is") as raised:
        build_toolset([raw(path=str(desk / "report"))], workspace=desk)
    assert "outside of the workspace" in raised.value.line()
    with pytest.raises(ConfigurationError, match="`path` is"):
        build_toolset([raw(path=str(desk / "none"))], workspace=desk)
    with pytest.raises(ConfigurationError, match="`path` is"):
        build_toolset([raw()], workspace=desk)


def test_files_that_a_definition_carries_are_written_once_and_can_be_run(
    desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    program = "#!/bin/sh\necho from $0 in $PWD\n"
    files = {"report/SKILL.md": MANIFEST, "report/scripts/look": program, "report/references/a.md": "é\r\n"}
    tools = build_toolset([raw(files=files)], workspace=desk)
    assert call(tools, "load_skill", desk, name="report", file="references/a.md").output == "é\r\n"
    ran = call(tools, "run_skill_script", desk, name="report", script="scripts/look")
    assert f" in {desk}\n" in ran.output, ran.output
    place = given.place_of(files)
    assert place.is_relative_to(tmp_path / "home" / ".kubiya")
    one = build_toolset([raw(files={"SKILL.md": MANIFEST, "scripts/count.py": SCRIPT})], workspace=desk)
    assert "- report: Counts lines." in one.specs[0].description
    (place / "report" / "SKILL.md").write_text(MANIFEST.replace("Counts", "Weighs"))  # as a disk's fault might
    assert "Weighs" in build_toolset([raw(files=files)], workspace=desk).specs[0].description
    assert len(list(place.parent.iterdir())) == 2


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "an object of paths and texts"),
        ("SKILL.md", "an object of paths and texts"),
        ({"../SKILL.md": MANIFEST}, "relative paths"),
        ({"/etc/SKILL.md": MANIFEST}, "relative paths"),
        ({"a//SKILL.md": MANIFEST}, "relative paths"),
        ({"report/SKILL.md": 5}, "an object of texts"),
        ({"report/SKILL.md": "\ud800"}, "an object of texts"),
        ({"report/SKILL.md": "x" * (given.MOST_BYTES + 1)}, "200000 bytes"),
        ({f"report/{number}": "" for number in range(given.MOST_FILES + 1)}, "at most 200 files"),
        ({"report/SKILL.md": MANIFEST, "report/SKILL.md/x": ""}, "cannot be written"),
        ({"other/SKILL.md": MANIFEST}, "must be the name of its folder"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(
    desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Any, said: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    _, missing = assemble([raw(files=files)], workspace=desk)
    assert len(missing) == 1
    assert said in missing[0].line()
    for more in ({"path": "/srv"}, {"git": "https://example.com/x"}, {"commit": "0" * 40}, {"folder": "x"}):
        _, missing = assemble([raw(files={"SKILL.md": MANIFEST}, **more)], workspace=desk)
        assert len(missing) == 1, more
    assert not (tmp_path / "etc").exists()
