"""Text that looks like a secret is redacted, and the ordinary content of logs is not."""

from __future__ import annotations

import pytest

from kubiya_worker.support.secret_patterns import hide

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA75\nabcdef\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("key kby_0123456789abcdef was refused", "kby_0123456789abcdef"),
        ("using sk-proj-0123456789abcdefXYZ", "sk-proj-0123456789abcdefXYZ"),
        ("ghp_0123456789abcdefghij0123", "ghp_0123456789abcdefghij0123"),
        ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
        (f"Cookie: {JWT}", JWT),
        (f"x {PEM} y", "MIIEowIBAAKCAQEA75"),
        ("cut off -----BEGIN PRIVATE KEY-----\nMIIEowIBAAKCAQEA75", "MIIEowIBAAKCAQEA75"),
        ("Authorization: Bearer abcdefgh12", "abcdefgh12"),
        ("authorization=UserKey abcdefgh12", "abcdefgh12"),
        ("postgres://kubiya:hunter22@db:5432/x", "hunter22"),
        ("pip install git+https://tok123456@github.com/x/y", "tok123456"),
        ('{"api_key": "hunter2222"}', "hunter2222"),
        ('{\\"client_secret\\": \\"hunter2222\\"}', "hunter2222"),
        ("DB_PASSWORD=hunter2222 started", "hunter2222"),
        ("x-api-key: hunter2222", "hunter2222"),
    ],
)
def test_it_is_taken_out(text: str, secret: str) -> None:
    assert secret not in hide(text) and "[redacted]" in hide(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-26T09:02:39.264068Z info worker.ready queue=q1 worker_id=5c1f seconds=0.21",
        'kubiya_worker_model_tokens_total{model="demo",kind="input"} 123456',
        "input_tokens=1234567 output_tokens=12 max_tokens: 100000",
        "tiktoken==0.13.0",
        "KUBIYA_API_KEY_FILE=/run/secrets/key",
        '{"api_key": "[set, hidden]", "temporal_tls_key": null, "token": true}',
        "idempotency keys are kept for a day",
        "http://127.0.0.1:7777/api/v1/executions?x=1",
        "pid 123  SIGKILL (crash: killed) after 12.5 s",
    ],
)
def test_innocent_text_stays(text: str) -> None:
    assert hide(text) == text
