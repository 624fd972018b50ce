"""The archive, the .deb and the .rpm have all extras but those that they name as left out."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOR_DEVELOPERS = {"unit", "dev", "gateways", "deploy"}
LEFT_OUT = {"s3", "bedrock"}  # boto3 alone would be as large as the rest


def test_a_new_extra_is_in_the_host_packages_or_named_as_left_out() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    (listed,) = re.findall(r"^EXTRAS=(\S+)$", (ROOT / "scripts/host-packages").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed.split(",")) == sorted(set(parser["options.extras_require"]) - FOR_DEVELOPERS - LEFT_OUT)
    for page in ("install", "benchmarks"):
        text = " ".join((ROOT / f"docs/{page}.md").read_text("utf-8").split())
        assert "extras but `s3` and `bedrock`" in text
