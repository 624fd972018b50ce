"""The running installation is installed unless a package was named, and a name is never read as an option."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubiya_worker import __version__
from kubiya_worker.errors import ConfigurationError, UsageError
from kubiya_worker.launch import packages
from kubiya_worker.launch.packages import HEAD, MARK, Interpreter, own_requirements, plan, requirements_text
from kubiya_worker.settings import Settings

HERE = packages.running_python()
OTHER = Interpreter("/opt/python/bin/python3", "/opt/python", (3, 13, 0))


def settings(**given: str) -> Settings:
    return Settings(queue_id="q", api_key="k", **given)  # type: ignore[arg-type]


def test_by_default_the_running_installation_is_seen_through() -> None:
    found = plan(settings(), HERE, "")
    assert found.folders and not found.own


def test_another_python_gets_the_same_worker_installed() -> None:
    found = plan(settings(), OTHER, "")
    assert not found.folders
    assert found.requirement == packages.running_requirement()


def test_the_running_version_by_name_is_the_running_installation() -> None:
    assert plan(settings(package_version=__version__), HERE, "").folders


@pytest.mark.parametrize(
    ("given", "requirement"),
    [
        ({"package_version": "9.9.9"}, "kubiya-worker==9.9.9"),
        ({"package_source": "9.9.9rc1"}, "kubiya-worker==9.9.9rc1"),
        ({"package_source": "owner/repo@v1"}, "kubiya-worker @ git+https://github.com/owner/repo@v1"),
        ({"package_source": "o/r@feature/x"}, "kubiya-worker @ git+https://github.com/o/r@feature/x"),
        ({"package_source": "git+https://host/x.git@main"}, "kubiya-worker @ git+https://host/x.git@main"),
    ],
)
def test_a_version_or_source_becomes_a_requirement(given: dict[str, str], requirement: str) -> None:
    found = plan(settings(**given), HERE, "")
    assert found.requirement == requirement and not found.folders


@pytest.mark.parametrize(
    "value",
    [
        "--index-url=http://evil",
        "-e/tmp",
        "owner/repo",
        "-x/y@z",
        "git+ssh://host/x",
        "git+https://h/x\n--pre",
        "git+https://u:secret@h/x",
        "http://host/x",
        "latest; rm",
        "../x@y",
    ],
)
def test_a_source_that_is_none_is_refused(value: str) -> None:
    with pytest.raises((UsageError, ConfigurationError)):
        plan(settings(package_source=value), HERE, "")


def test_a_version_is_a_version() -> None:
    for value in ("latest", "1.0 --pre", "owner/repo@v1", ">=1"):
        with pytest.raises(UsageError):
            plan(settings(package_version=value), HERE, "")


def test_two_sources_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="contradict"):
        plan(settings(package_version="1.0", package_source="o/r@v1"), HERE, "")


def test_a_wheel_that_was_rebuilt_is_installed_again(tmp_path: Path) -> None:
    wheel = tmp_path / "kubiya_worker-1-py3-none-any.whl"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        plan(settings(local_wheel=str(wheel)), HERE, "")
    wheel.write_bytes(b"1")
    first = plan(settings(local_wheel=str(wheel)), HERE, "")
    assert first.requirement == f"kubiya-worker @ {wheel.as_uri()}"
    assert plan(settings(local_wheel=str(wheel)), HERE, "").fingerprint == first.fingerprint
    wheel.write_bytes(b"22")
    assert plan(settings(local_wheel=str(wheel)), HERE, "").fingerprint != first.fingerprint


def test_own_requirements_change_the_plan() -> None:
    assert plan(settings(), HERE, "boto3").fingerprint != plan(settings(), HERE, "").fingerprint


def test_a_persons_lines_are_kept_and_ours_renewed() -> None:
    first = requirements_text("kubiya-worker==1", "")
    edited = first + "boto3 # for s3\n\n# a note\nrich==13\n"
    second = requirements_text("kubiya-worker==2", edited)
    assert "kubiya-worker==2" in second and "kubiya-worker==1" not in second
    assert second.endswith("boto3 # for s3\n\n# a note\nrich==13\n")
    assert own_requirements(second) == "boto3 # for s3\nrich==13"
    assert requirements_text("kubiya-worker==2", second) == second


def test_a_file_that_was_there_before_is_a_persons_own() -> None:
    assert own_requirements("boto3\n") == "boto3"
    assert requirements_text("kubiya-worker==1", "boto3\n").endswith("boto3\n")
    assert own_requirements(f"{HEAD}\nkubiya-") == ""  # ours, cut off
    assert MARK in requirements_text("kubiya-worker==1", f"{HEAD}\nkubiya-")
