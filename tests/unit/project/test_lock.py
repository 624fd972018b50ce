"""constraints.txt pins what setup.cfg asks for, with hashes, and says nothing of where it was written."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[3]
LOCK = (ROOT / "constraints.txt").read_text("utf-8")
# One per package, and version of it, and platform: name, version, marker, hashes.
PIN = re.compile(
    r"^([a-z0-9-]+)==([^ ;\\]+)(?: ; ([^\\\n]+?))?((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE
)
APART = {"gateways"}  # tests/gateways makes an environment of its own


def asked() -> dict[str, list[Requirement]]:
    """Return the requirements of each extra, under "" those of the worker itself."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    texts = {"": parser["options"]["install_requires"], **parser["options.extras_require"]}
    return {extra: [Requirement(line) for line in text.split("\n") if line] for extra, text in texts.items()}


def missing(requirement: Requirement, lock: str) -> bool:
    """Tell whether no pin satisfies the requirement, or one of them does not."""
    versions = [version for name, version, *_ in PIN.findall(lock) if name == canonicalize_name(requirement.name)]
    return not versions or not all(requirement.specifier.contains(Version(version)) for version in versions)


@pytest.mark.parametrize("extra", sorted(set(asked()) - APART))
def test_it_has_what_setup_cfg_asks_for(extra: str) -> None:
    wrong = [str(requirement) for requirement in asked()[extra] if missing(requirement, LOCK)]
    assert not wrong, f"run scripts/lock: {wrong}"


def test_each_line_is_a_pin_with_hashes() -> None:
    rest = re.sub(r"^#.*\n", "", PIN.sub("", LOCK), flags=re.MULTILINE)
    assert rest.strip() == "" and len(PIN.findall(LOCK)) > 100


def test_it_names_no_index_and_no_folder() -> None:
    assert not re.search(r"https?:|file:|--(extra-)?index|--find-links|(^|\s)/", LOCK)


@pytest.mark.parametrize(
    ("requirement", "result"), [("one >=2", False), ("One<3", False), ("one >=2.1", True), ("two", True)]
)
def test_a_requirement_that_it_lacks_is_found(requirement: str, result: bool) -> None:
    lock = f"one==2.0 ; python_version < '3.12' \\\n    --hash=sha256:{'0' * 64}\n"
    assert missing(Requirement(requirement), lock) is result
