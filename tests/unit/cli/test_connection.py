"""A command that does not reach the control plane says which variable to correct."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubiya_worker.cli.connection import connect
from kubiya_worker.control_plane.errors import Refused, Unreachable
from kubiya_worker.errors import EX_CONFIG, EX_USAGE, ConfigurationError
from kubiya_worker.launch import preflight
from kubiya_worker.settings import sources
from tests.support.scripted_plane import Reply, ScriptedPlane

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


OTHERS = {
    "a page": Reply(404, "<html><title>Error response</title></html>"),
    "JSON": Reply(404, {"message": "Not Found"}),
    "a page for each address": Reply(200, "<html>hello</html>"),
    "JSON without a status": Reply(200, {"hello": "world"}),
}


@pytest.mark.parametrize("health", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("path", ["/agents", "/agents/3f2a"])
def test_another_server_is_told_from_a_control_plane_that_knows_no_such_thing(health: Reply, path: str) -> None:
    with ScriptedPlane() as plane:
        plane.others = lambda seen: health if seen.path == "/api/health" else Reply(404, {"detail": "Not Found"})
        with pytest.raises(Refused, match=f"{plane.url} is no Kubiya control plane") as refused:
            connect({"KUBIYA_API_KEY": "k", "CONTROL_PLANE_URL": plane.url}).ask("GET", path)
        assert "CONTROL_PLANE_URL" in refused.value.remedy and refused.value.exit_code == EX_CONFIG

        plane.others = lambda seen: (
            Reply(200, {"status": "degraded"}) if seen.path == "/api/health" else Reply(404, {"detail": "not here"})
        )
        with pytest.raises(Refused, match="not here") as unknown:
            connect({"KUBIYA_API_KEY": "k", "CONTROL_PLANE_URL": plane.url}).ask("GET", path)
        assert unknown.value.exit_code == (EX_USAGE if path.count("/") > 1 else EX_CONFIG)


def test_a_worker_is_not_started_for_another_server() -> None:
    with ScriptedPlane(Reply(404, {"message": "Not Found"})) as plane:
        plane.others = lambda seen: Reply(404, "<html>")
        environ = {"KUBIYA_API_KEY": "k", "CONTROL_PLANE_URL": plane.url, "QUEUE_ID": "default"}
        with pytest.raises(Refused, match="is no Kubiya control plane"):
            preflight.check(sources.resolve({}, environ, None))
