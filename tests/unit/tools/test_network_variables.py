"""This module checks what a tool's process is told of the worker's network."""

from __future__ import annotations

import pytest

from kubiya_worker.tools.network_variables import of_worker

CA = dict.fromkeys(
    ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"), "/etc/own.pem"
)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, {}),
        ({"KUBIYA_API_KEY": "k", "NO_PROXY": ""}, {}),
        ({"SSL_CERT_FILE": "/etc/own.pem", "PATH": "/bin"}, CA),
        ({"HTTPS_PROXY": "http://proxy:3128"}, {"HTTPS_PROXY": "http://proxy:3128"}),
        ({"https_proxy": "proxy:3128", "no_proxy": "a,b"}, {"https_proxy": "proxy:3128", "no_proxy": "a,b"}),
        ({"ALL_PROXY": "http://[::1]:3128"}, {"ALL_PROXY": "http://[::1]:3128"}),
        ({"HTTP_PROXY": "http://me:secret@proxy:3128", "NO_PROXY": "a"}, {"NO_PROXY": "a"}),
        ({"HTTP_PROXY": "me:secret@proxy:3128"}, {}),
        ({"HTTP_PROXY": "http://token@proxy"}, {}),
        ({"HTTP_PROXY": "http://[broken"}, {}),
        ({"GIT_PROXY": "http://proxy:3128"}, {}),
    ],
)
def test_the_proxy_and_the_ca_file_are_told_and_no_secret(environ: dict[str, str], told: dict[str, str]) -> None:
    assert of_worker(environ) == told
