"""The version stands in kubiya_worker/__init__.py; what repeats it agrees, and a release of it is described."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from kubiya_worker import __version__

ROOT = Path(__file__).parents[3]


def test_the_metadata_read_it_from_the_package() -> None:
    parser = configparser.RawConfigParser()
    parser.read(ROOT / "setup.cfg")
    assert parser["metadata"]["version"] == "attr: kubiya_worker.__version__"


def test_the_charts_the_manifest_and_the_image_have_it() -> None:
    charts = sorted((ROOT / "deploy" / "helm").glob("*/Chart.yaml"))
    assert charts
    for path in charts:
        chart = yaml.safe_load(path.read_text())
        assert (chart["version"], chart["appVersion"]) == (__version__, __version__), path
    deployment = yaml.safe_load((ROOT / "deploy" / "k8s" / "deployment.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"].rpartition(":")[2] == __version__
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert re.findall(r"^ARG VERSION=(.*)$", dockerfile, re.MULTILINE) == [__version__]


def release(
    folder: Path, version: str, changelog: str, ref: str = "main", recorded: str = "1.2.0"
) -> subprocess.CompletedProcess[str]:
    """Run scripts/release in a folder that has only what it reads before it builds."""
    (folder / "scripts").mkdir()
    (folder / "kubiya_worker").mkdir()
    for name in ("release", "lib.sh"):
        shutil.copy(ROOT / "scripts" / name, folder / "scripts" / name)
    (folder / "kubiya_worker" / "__init__.py").write_text(f'"""A package."""\n\n__version__ = "{version}"\n')
    (folder / "CHANGELOG.md").write_text(changelog)
    histories = folder / "tests" / "replay" / "histories" / recorded
    histories.mkdir(parents=True)
    (histories / "plain.json").write_text("{}")
    (folder / "full").mkdir()
    (folder / "full" / "file").touch()  # a folder that is not empty is refused next: nothing is built here
    env = {**os.environ, "GITHUB_REF_NAME": ref}
    command = [folder / "scripts" / "release", folder / "full"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "changelog",
    [
        "",
        "# Changelog\n\n## Unreleased\n\n- 1.2.0\n",
        "## 1.2.01\n",
        "## 1x2.0\n",
        "### 1.2.0\n",
        "## 1.2.0rc1\n",
        "## 11.2.0\n",
    ],
)
def test_a_version_that_the_changelog_lacks_is_refused(changelog: str, tmp_path: Path) -> None:
    run = release(tmp_path, "1.2.0", changelog)
    assert run.returncode == 78 and 'CHANGELOG.md has no section "## 1.2.0"' in run.stderr


@pytest.mark.parametrize("heading", ["## 1.2.0", "## [1.2.0]", "## 1.2.0 (2026-12-01)", "## 1.2.0 - 2026-12-01"])
def test_a_version_with_a_section_goes_on(heading: str, tmp_path: Path) -> None:
    run = release(tmp_path, "1.2.0", f"# Changelog\n\n## Unreleased\n\n{heading}\n\n- A thing.\n", "v1.2.0")
    assert run.returncode == 78 and "is not empty" in run.stderr and "CHANGELOG" not in run.stderr


def test_a_version_without_recorded_histories_is_refused(tmp_path: Path) -> None:
    run = release(tmp_path, "1.2.0", "## 1.2.0\n", recorded="1.1.0")
    assert run.returncode == 78 and "tests/replay/histories has nothing of 1.2.0" in run.stderr


def test_a_tag_of_another_version_is_refused(tmp_path: Path) -> None:
    run = release(tmp_path, "1.2.0", "## 1.2.0\n", "v1.2.1")
    assert run.returncode == 78 and "the tag is v1.2.1, and kubiya_worker/__init__.py says 1.2.0" in run.stderr


def test_the_changelog_describes_the_present_version() -> None:
    """No release can be made without its section; the next one stands under "Unreleased"."""
    assert re.search(rf"^## \[?{re.escape(__version__)}\]?( |$)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
