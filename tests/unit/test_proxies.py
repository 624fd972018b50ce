"""The environment names a proxy, and every client of ours uses it in the same way."""

from __future__ import annotations

import pytest

from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.errors import Unreachable
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.proxies import proxy_for, spare_loopback

URL = "http://control-plane.example"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("proxy:3128", "http://proxy:3128"),
        ("proxy", "http://proxy"),
        ("me:pw@proxy:3128", "http://me:pw@proxy:3128"),
        ("https://proxy", "https://proxy"),
    ],
)
def test_a_scheme_may_be_left_out(variable: str, given: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, given)
    assert proxy_for(URL) == meant
    monkeypatch.setenv("NO_PROXY", "control-plane.example")
    assert proxy_for(URL) is None


def test_this_machine_is_never_asked_through_a_proxy_by_any_client() -> None:
    environ = {"HTTPS_PROXY": "proxy:3128", "NO_PROXY": "internal.example, ::1"}
    spare_loopback(environ)
    assert environ["no_proxy"] == environ["NO_PROXY"] == "internal.example,::1,localhost,127.0.0.1"
    for untouched in ({}, {"NO_PROXY": "x"}, {"http_proxy": "proxy", "no_proxy": "*"}):
        before = dict(untouched)
        spare_loopback(untouched)
        assert untouched == before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("http://proxy:port", "is no URL. Write it as http://HOST:PORT"),
        ("http://", "is no URL"),
        ("http://proxy:0", "is no URL"),
        ("socks5://me:pw@proxy:1080", "The proxy socks5://proxy is of no use for http://control-plane.example"),
    ],
)
def test_what_is_no_proxy_for_us_is_a_wrong_setting(given: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", given)
    with pytest.raises(ConfigurationError) as caught:
        ControlPlane(URL, "kby_x")
    assert said in caught.value.line() and "pw" not in caught.value.line()


def test_a_proxy_that_is_not_there_is_named_as_what_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "127.0.0.1:1")
    plane = ControlPlane(URL, "kby_x")
    with pytest.raises(Unreachable) as caught:
        plane.start_worker("q", sdk_version="1", system_info={})
    assert "cannot be reached (through its proxy: Connection refused)" in caught.value.message
