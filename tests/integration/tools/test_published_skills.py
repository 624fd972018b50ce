"""Agent Skills that others have published, unchanged: listed, loaded and run by a scripted model.

Three of them are in tests/cases/agent_skills. More are fetched in the version that was tried; where npm or the package
index is not to be had, that test is skipped.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Final

import pytest

from kubiya_worker.tools.base import ToolContext, expanded
from kubiya_worker.tools.confinement import support
from kubiya_worker.tools.toolset import build_toolset
from tests.support.demo_scripts import script
from tests.support.stack import BIN, ROOT, Stack

CASES: Final = ROOT / "tests" / "cases" / "agent_skills"
PACKAGES: Final[list[dict[str, Any]]] = json.loads((CASES / "published.json").read_text())["packages"]
PAGE: Final = "<html><body><h1>x</h1></body></html>"
SAID: Final = "Missing <title> tag"


def texts(place: Path) -> dict[str, str]:
    return {str(path.relative_to(place)): path.read_text() for path in place.rglob("*") if path.is_file()}


def digest(place: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(path for path in place.rglob("*") if path.is_file()):
        whole.update(str(path.relative_to(place)).encode() + path.read_bytes())
    return whole.hexdigest()


def committed(place: Path, repository: Path) -> str:
    """Put a folder into a repository, change it there afterwards, and return the first commit."""

    def git(*arguments: str) -> str:
        options = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *options, *arguments], cwd=repository, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    shutil.copytree(place, repository / "skills")
    git("init", "--quiet", "-b", "main")
    git("add", "-A")
    git("commit", "--quiet", "-m", "first")
    commit = git("rev-parse", "HEAD")
    for manifest in (repository / "skills").glob("*/SKILL.md"):
        manifest.write_text("something else\n")
    git("commit", "--quiet", "-a", "-m", "second")
    return commit


@pytest.mark.parametrize("source", ["folder", "control-plane", "git"])
def test_the_model_asks_for_a_published_skill_reads_its_reference_and_runs_its_script(
    stack: Stack, source: str, tmp_path: Path
) -> None:
    published = CASES / "ai-labs-claude-skills"
    before = digest(published)
    if source == "folder":
        configuration: dict[str, Any] = {"path": str(published)}
    elif source == "control-plane":
        definition = tmp_path / "agent.yaml"
        shutil.copytree(published, tmp_path / "skills")
        definition.write_text(
            "kind: Agent\nname: reader-control-plane\nspec:\n  model_id: demo\n  skills:\n    - type: agent_skills\n"
            "      configuration: {files_from: skills, skills: [seo-optimizer]}\n"
            "    - {type: file_system, name: files}\n"
        )
        environment = {"CONTROL_PLANE_URL": stack.url, "KUBIYA_API_KEY": stack.key, "PATH": "/usr/bin:/bin"}
        command = [str(BIN / "kubiya"), "apply", "-f", str(definition)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        shutil.rmtree(tmp_path / "skills")  # the worker has only what the control plane has
        definition.unlink()
    else:
        (tmp_path / "repository").mkdir()
        commit = committed(published, tmp_path / "repository")
        configuration = {"git": f"file://{tmp_path / 'repository'}", "commit": commit, "folder": "skills"}
    if source != "control-plane":
        skills: list[dict[str, Any]] = [{"type": "agent_skills", "configuration": configuration}]
        skills.append({"type": "file_system", "name": "files"})
        stack.agent(f"reader-{source}", skills=skills)
    reference = "references/seo_checklist.md"
    calls = [
        {"name": "load_skill", "arguments": {"name": "seo-optimizer"}},
        {"name": "load_skill", "arguments": {"name": "seo-optimizer", "file": reference}},
        {"name": "save_file", "arguments": {"path": "page.html", "content": PAGE}},
    ]
    ran = {"name": "seo-optimizer", "script": "scripts/seo_analyzer.py", "arguments": ["page.html"]}
    steps = [{"tools": [call]} for call in [*calls, {"name": "run_skill_script", "arguments": ran}]]
    execution = stack.execute(script(*steps, {"text": "Done."}), agent=f"reader-{source}")
    asked: list[str] = []
    done_calls: list[dict[str, Any]] = []
    for event in stack.events(execution):
        if event["event"] == "approval_requested":
            asked.append(str(event["data"]["tool_name"]))
            stack.call("POST", f"/approvals/{event['data']['approval_id']}/approve", {"reason": "a test"})
        elif event["event"] == "tool_completed":
            done_calls.append(event["data"])
    assert asked == ["save_file"]  # by the rule that new control planes have; the skill's own text asks nobody
    assert [each["status"] for each in done_calls] == ["success"] * 4, done_calls
    loaded, read, _, printed = (str(each["tool_output"]) for each in done_calls)
    place = published / "seo-optimizer"
    assert (place / "SKILL.md").read_text().split("\n---\n", 1)[1].strip()[:2000] in loaded
    assert (place / reference).read_text()[:2000] in read
    assert SAID in printed
    assert digest(published) == before


def test_a_published_folder_is_about_a_hundred_tokens_until_it_is_asked_for(tmp_path: Path) -> None:
    for place in (CASES / "ai-labs-claude-skills", CASES / "playwright-cli", CASES / "typer"):
        assert (place / "LICENSE").is_file()
        tools = build_toolset([{"type": "agent_skills", "configuration": {"path": str(place)}}], workspace=tmp_path)
        (listed,) = (spec for spec in tools.specs if spec.name == "load_skill")
        lines = [line for line in listed.description.splitlines() if line.startswith("- ")]
        assert len(lines) == len(list(place.glob("*/SKILL.md")))
        assert sum(map(len, lines)) / len(lines) < 4 * 120  # a token is about four characters of English


def fetched(package: dict[str, Any], folder: Path) -> Path:
    """Return the folder of a package's skills, as the package has it."""
    named = f"{package['package']}{'@' if package['registry'] == 'npm' else '=='}{package['version']}"
    if package["registry"] == "npm":
        program = shutil.which("npm")
        if program is None:
            pytest.skip("npm is not installed")
        command = [program, "pack", "--silent", "--ignore-scripts", named]
    else:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", named]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    if done.returncode:
        pytest.skip(f"{named} cannot be fetched: {done.stderr.strip()[-200:]}")
    (archive,) = folder.iterdir()
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == package["sha256"]
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder / "unpacked")
    else:
        with tarfile.open(archive) as packed:
            packed.extractall(folder / "unpacked", filter="data")
    return folder / "unpacked" / str(package["folder"])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("package", [pytest.param(each, id=each["package"]) for each in PACKAGES])
def test_published_packages_are_loaded_and_their_scripts_run_confined(package: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "fetched").mkdir()
    (tmp_path / "desk").mkdir()
    place = fetched(package, tmp_path / "fetched")
    before = digest(place)
    wanted = {"skills": package["skills"]} if package.get("skills") else {}
    mode = support.mode()
    support.use(support.PREFER)
    try:
        given = {"path": str(place), **wanted}
        tools = build_toolset([{"type": "agent_skills", "configuration": given}], workspace=tmp_path / "desk")
        loader, runner = tools.get("load_skill"), tools.get("run_skill_script")
        assert loader is not None and runner is not None
        context = ToolContext("e1", "call-1", tmp_path / "desk")
        for name in loader.spec.parameters["properties"]["name"]["enum"]:
            manifest = (place / name / "SKILL.md").read_text()
            loaded = asyncio.run(loader.run({"name": name}, context))
            assert manifest.replace("\r\n", "\n").split("\n---", 2)[-1].strip() in loaded.output.replace("\r\n", "\n")
            for path in sorted((place / name).rglob("*.md")):
                arguments = {"name": name, "file": str(path.relative_to(place / name))}
                if path.name != "SKILL.md":
                    assert asyncio.run(loader.run(arguments, context)).output == path.read_bytes().decode()
        for each in package.get("scripts", []):
            for path, text in each.get("files", {}).items():
                (tmp_path / "desk" / path).parent.mkdir(exist_ok=True)
                (tmp_path / "desk" / path).write_text(text)
            arguments = {key: each[key] for key in ("name", "script", "arguments")}
            result = asyncio.run(runner.run(expanded(runner, arguments), context))
            assert each["says"] in result.output, result.output
        assert digest(place) == before
    finally:
        support.use(mode)
