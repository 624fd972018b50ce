"""These tests check the address and the TLS settings of the connection to Temporal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.process import temporal
from kubiya_worker.settings import Settings
from kubiya_worker.temporal_connection.security import Tls, address_of, is_local

CLOUD = "ns.acct.tmprl.cloud:7233"


def tls_of(settings: Settings, address: str, key: str, **told: Any) -> Tls | None:
    return temporal.tls_of(settings, address, Registration("w1", "q", temporal_api_key=key, **told))


def settings(**values: Any) -> Settings:
    return Settings(queue_id="q", api_key="k", **values)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("temporal.example:7233", "temporal.example:7233"),
        ("temporal.example", "temporal.example:7233"),
        ("[::1]:7000", "[::1]:7000"),
        ("127.0.0.1", "127.0.0.1:7233"),
    ],
)
def test_an_address_without_a_port_gets_7233(given: str, wanted: str) -> None:
    assert address_of(given) == wanted


@pytest.mark.parametrize("given", ["", ":7233", "host:port", "host:99999", "https://host:7233", "u@host:1", "host:1/x"])
def test_what_is_no_address(given: str) -> None:
    with pytest.raises(ConfigurationError, match="is not host:port"):
        address_of(given)


@pytest.mark.parametrize("address", ["localhost:7233", "127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "temporal:7233"])
def test_local_addresses_go_without_tls(address: str) -> None:
    assert is_local(address)
    assert tls_of(settings(), address, "") is None


@pytest.mark.parametrize(
    "address", [CLOUD, "10.0.0.1:7233", "localhost.example:7233", "temporal-frontend.temporal:7233"]
)
@pytest.mark.parametrize("key", ["", "key"])
def test_all_others_have_tls_with_or_without_a_key(address: str, key: str) -> None:
    assert tls_of(settings(), address, key) == Tls()


def test_plain_text_has_to_be_asked_for_and_never_carries_a_key() -> None:
    assert tls_of(settings(temporal_tls=False), CLOUD, "") is None
    with pytest.raises(ConfigurationError, match="would travel without TLS"):
        tls_of(settings(temporal_tls=False), CLOUD, "key")
    assert tls_of(settings(temporal_tls=True), "localhost:7233", "") == Tls()


def test_certificates_come_from_files(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(name)
    files = {f"temporal_tls_{n}": str(tmp_path / n) for n in ("ca", "cert", "key")}
    tls = tls_of(settings(**files, temporal_tls_server_name="inside.example"), CLOUD, "")
    assert tls is not None
    found = tls.config()
    assert found.domain == "inside.example"
    assert (found.server_root_ca_cert, found.client_cert, found.client_private_key) == (b"ca", b"cert", b"key")
    with pytest.raises(ConfigurationError, match="needs its key"):
        tls_of(settings(temporal_tls_cert=files["temporal_tls_cert"]), CLOUD, "")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        tls_of(settings(temporal_tls_ca=str(tmp_path / "none")), CLOUD, "")
    with pytest.raises(ConfigurationError, match="TEMPORAL_TLS is false"):
        tls_of(settings(temporal_tls=False, **files), CLOUD, "")


def test_what_the_control_plane_says_of_its_temporal_counts_where_the_worker_has_no_setting(tmp_path: Path) -> None:
    inside = "temporal-frontend.temporal:7233"
    assert tls_of(settings(), inside, "", temporal_tls=False) is None
    assert tls_of(settings(temporal_tls=True), inside, "", temporal_tls=False) == Tls()
    assert tls_of(settings(), "localhost:7233", "", temporal_tls=True) == Tls()
    with pytest.raises(ConfigurationError, match="would travel without TLS"):
        tls_of(settings(), inside, "key", temporal_tls=False)
    sent = tls_of(settings(), CLOUD, "", temporal_tls_ca="PEM", temporal_tls_server_name="a.example")
    assert sent == Tls("PEM", "the CA that the control plane sent", server_name="a.example")
    (tmp_path / "own").write_text("OWN")
    own = tls_of(settings(temporal_tls_ca=str(tmp_path / "own")), CLOUD, "", temporal_tls_ca="PEM")
    assert own is not None and own.roots == "OWN"
    # It speaks of its own Temporal: another one is not touched by it.
    assert tls_of(settings(temporal_host=inside), inside, "", temporal_tls=False, temporal_tls_ca="PEM") == Tls()
