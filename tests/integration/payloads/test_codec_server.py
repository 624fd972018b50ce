"""`kubiya server codec`: Temporal's page and its CLI read what is encrypted, and nobody else does."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.payloads.test_encryption import CANARY, key, write
from tests.support.stack import BIN, Process, Stack

ORIGIN = "http://localhost:8233"


def started(tmp_path: Path, *arguments: str, **env: str) -> tuple[Process, str]:
    keys = write(tmp_path / "codec-keys", f"one {key(1)}")
    environment = {"KUBIYA_PAYLOAD_KEYS_FILE": str(keys), "HOME": str(tmp_path), **env}
    process = Process([str(BIN / "kubiya"), "server", "codec", "--port", "0", *arguments], environment, tmp_path)
    return process, process.expect("codec.listening").partition("url=")[2]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    process, url = started(tmp_path)
    yield url
    process.kill()


def ask(url: str, path: str, body: Any, **headers: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        data = body if isinstance(body, (bytes, str)) else json.dumps(body)
        return session.post(f"{url}{path}", data=data, headers={"X-Namespace": "default", **headers}, timeout=30)


def payload(text: str) -> dict[str, Any]:
    encoding = base64.b64encode(b"json/plain").decode()
    return {"metadata": {"encoding": encoding}, "data": base64.b64encode(json.dumps(text).encode()).decode()}


def test_what_is_encoded_comes_back(url: str) -> None:
    encoded = ask(url, "/encode", {"payloads": [payload("one"), payload("two")]}).json()
    assert base64.b64decode(encoded["payloads"][0]["metadata"]["encoding"]) == b"binary/encrypted"
    assert ask(url, "/decode", encoded).json() == {"payloads": [payload("one"), payload("two")]}
    assert ask(url, "/decode", {"payloads": [payload("plain")]}).json() == {"payloads": [payload("plain")]}


def test_a_page_is_answered_when_its_origin_was_named(url: str) -> None:
    body = {"payloads": [payload("one")]}
    answer = ask(url, "/decode", body, Origin=ORIGIN)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "authorization,content-type,x-namespace"
    before = requests.options(f"{url}/decode", headers=asked, timeout=30)
    assert before.status_code == 200 and "x-namespace" in before.headers["access-control-allow-headers"].lower()
    for origin in ("http://evil.example", "null", f"{ORIGIN}.evil.example"):
        answer = ask(url, "/decode", body, Origin=origin)
        assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers
        refused = requests.options(f"{url}/decode", headers={**asked, "Origin": origin}, timeout=30)
        assert refused.status_code == 400 and "access-control-allow-origin" not in refused.headers


def test_another_name_for_this_host_is_refused(url: str) -> None:
    """A site can point its own name to 127.0.0.1, and then its pages ask from an origin that is this one."""
    for name in ("evil.example", "evil.example:8081", "", "127.0.0.1.evil.example"):
        assert ask(url, "/decode", {"payloads": []}, Host=name).status_code in (400, 403), name


@pytest.mark.parametrize("body", ["", "{", "[1]", '{"payloads": 3}', b"\xff\xfe", '{"payloads":' + "[" * 5000])
def test_what_is_no_payload_is_refused_in_one_line(url: str, body: bytes | str) -> None:
    answer = ask(url, "/decode", body)
    assert answer.status_code == 400 and "base64" in answer.json()["message"]


def test_a_payload_of_another_key_is_refused_by_its_name(url: str) -> None:
    encoding, other = (base64.b64encode(text).decode() for text in (b"binary/encrypted", b"other"))
    foreign = {
        "metadata": {"encoding": encoding, "encryption-key-id": other},
        "data": base64.b64encode(b"x" * 40).decode(),
    }
    answer = ask(url, "/decode", {"payloads": [foreign]})
    assert answer.status_code == 400 and "'other'" in answer.json()["message"]


def test_beyond_loopback_it_wants_a_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123\n")
    token.chmod(0o600)
    process, url = started(tmp_path, "--host", "0.0.0.0", "--token-file", str(token))
    try:
        url = url.replace("0.0.0.0", "127.0.0.1")
        body = {"payloads": [payload("one")]}
        assert [
            ask(url, "/decode", body, Authorization=given).status_code for given in ("", "Bearer no", "Bearer é")
        ] == [401] * 3
        answer = ask(url, "/decode", body, Authorization="Bearer 0123456789abcdef0123", Host="codec.example")
        assert answer.json() == body
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("arguments", "keys", "code", "says"),
    [
        (["--host", "0.0.0.0"], True, 64, "Give it a --token-file"),
        (["--origin", "localhost"], True, 64, "is not an origin"),
        (["--token-file", "/nowhere/token"], True, 78, "cannot be read"),
        ([], False, 78, "Set KUBIYA_PAYLOAD_KEYS_FILE"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, arguments: list[str], keys: bool, code: int, says: str) -> None:
    environment = {"HOME": str(tmp_path)}
    if keys:
        environment["KUBIYA_PAYLOAD_KEYS_FILE"] = str(write(tmp_path / "codec-keys", f"one {key(1)}"))
    process = Process([str(BIN / "kubiya"), "server", "codec", "--port", "0", *arguments], environment, tmp_path)
    assert process.wait() == code
    process.kill()  # closes its pipe
    assert says in process.lines[-1], process.lines
    assert len(process.lines) == 1, process.lines


@pytest.mark.slow
def test_temporals_own_command_line_reads_a_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBIYA_PAYLOAD_KEYS_FILE", str(write(tmp_path / "codec-keys", f"one {key(1)}")))
    monkeypatch.setenv("KUBIYA_PAYLOAD_COMPRESSION", "zlib")
    with Stack(tmp_path) as stack:
        stack.worker()
        execution = stack.execute(f"Say {CANARY}", agent=stack.agent())
        assert stack.wait(execution)["status"] == "completed"
        process, url = started(tmp_path)
        stack.processes.append(process)
        temporal = shutil.which("temporal", path=str(BIN))
        assert temporal is not None
        show = [temporal, "workflow", "show", "--workflow-id", f"agent-execution-{execution}", "--output", "json"]
        show += ["--address", stack.temporal_address]
        sealed, read = (
            subprocess.run([*show, *more], capture_output=True, text=True, check=True, timeout=60).stdout
            for more in ([], ["--codec-endpoint", url])
        )
        texts = [
            b"".join(base64.b64decode(data) for data in re.findall(r'"data": "([^"]+)"', out)) for out in (sealed, read)
        ]
        assert [CANARY.encode() in text for text in texts] == [False, True]
