"""One set of CA certificates, whatever the libraries read."""

from __future__ import annotations

import ssl

import pytest

from kubiya_worker import trust


def test_the_first_variable_counts_for_all_libraries() -> None:
    store = trust.bundle({}) or pytest.skip("this host has no store")
    environ = {"SSL_CERT_FILE": store, "REQUESTS_CA_BUNDLE": "/other.pem", "CURL_CA_BUNDLE": "/third.pem"}
    trust.use_ca_bundle_of_environment(environ)
    assert (environ["SSL_CERT_FILE"], environ["REQUESTS_CA_BUNDLE"]) == (store, store)


def test_without_any_the_environment_stays_as_it_is_and_the_hosts_store_counts() -> None:
    environ: dict[str, str] = {}
    trust.use_ca_bundle_of_environment(environ)
    assert environ == {}
    known = {ssl.get_default_verify_paths().openssl_cafile, *trust.STORES, None}
    assert trust.bundle(environ) in known
    assert trust.bundle({"SSL_CERT_DIR": "/certs"}) == "/certs"
