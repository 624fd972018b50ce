"""A command that does not reach the control plane says which variable to correct."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubiya_worker.cli.connection import connect
from kubiya_worker.control_plane.errors import Unreachable
from kubiya_worker.errors import ConfigurationError

NOBODY = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("variables", "remedy"),
    [
        ({}, "Is kubiya dev running?"),
        (
            {"KUBIYA_CONTROL_PLANE_URL": "https://other.example"},
            "KUBIYA_CONTROL_PLANE_URL is not a known variable: did you mean CONTROL_PLANE_URL?",
        ),
        ({"KUBIYA_METRIC_PORT": "1"}, "Is kubiya dev running?"),
    ],
)
def test_a_variable_that_is_meant_to_name_the_control_plane_is_told(
    tmp_path: Path, variables: dict[str, str], remedy: str
) -> None:
    environ = {"KUBIYA_API_KEY": "k", "CONTROL_PLANE_URL": NOBODY, "HOME": str(tmp_path), **variables}
    with pytest.raises(Unreachable) as refused:
        connect(environ).ask("GET", "/agents")
    assert refused.value.remedy == remedy


@pytest.mark.parametrize("url", ["http://a b", "http://a/b c", "http://a\tb", "http://a;b", "http://a^b", "http://"])
def test_what_is_no_url_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a URL such as"):
        connect({"KUBIYA_API_KEY": "k", "CONTROL_PLANE_URL": url})


@pytest.mark.parametrize("url", ["http://[::1]:9", "https://büro.example", "http://my_host:80/cp", "http://10.0.0.1"])
def test_names_and_addresses_of_hosts_are_taken(url: str) -> None:
    assert connect({"KUBIYA_API_KEY": "k", "CONTROL_PLANE_URL": url}).base_url == url
