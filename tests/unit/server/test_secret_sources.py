"""External sources of secrets. Vault is a strict double here: no package of Vault or OpenBao was to be had."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError, Unavailable
from kubiya_worker.secret_sources import Sources

TOKEN = "hvs.c4nary-token-0123456789"
KEPT = {"/v1/kv/data/team/app": {"password": "s3same-open", "port": 5}, "/v1/kv/data/gone": None}


class Vault(BaseHTTPRequestHandler):
    """KV version 2 as its API describes it: a token, a namespace, 404 with data for a deleted version."""

    def do_GET(self) -> None:
        if self.headers["X-Vault-Token"] != TOKEN or self.headers["X-Vault-Namespace"] != "ns1":
            return self.reply(403, {"errors": ["permission denied"]})
        if self.headers["X-Vault-Request"] != "true":
            return self.reply(400, {"errors": ["missing X-Vault-Request"]})
        if self.path == "/v1/kv/data/sealed":
            return self.reply(503, {"errors": ["Vault is sealed"]})
        if self.path == "/v1/kv/data/moved":
            self.send_response(307)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            return self.end_headers()
        found = KEPT.get(self.path)
        return self.reply(200 if found else 404, {"data": {"data": found, "metadata": {"version": 1}}})

    def reply(self, status: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def vault() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vault)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def sources(vault: str, **environ: str) -> Sources:
    return Sources.allowed({"VAULT_ADDR": f"{vault}/", "VAULT_TOKEN": TOKEN, "VAULT_NAMESPACE": "ns1", **environ})


def test_a_field_of_vault_is_read(vault: str, tmp_path: Path) -> None:
    assert sources(vault).read("vault:kv/team/app#password") == "s3same-open"
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    of_file = sources(vault, VAULT_TOKEN="", VAULT_TOKEN_FILE=str(tmp_path / "token"))
    assert of_file.read("vault:kv/team/app#password") == "s3same-open"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("vault:kv/team/app#port", "no field"),
        ("vault:kv/team/app#user", "no field"),
        ("vault:kv/gone#x", "is not there"),
        ("vault:kv/never#x", "is not there"),
        ("vault:kv/../sys/seal#x", "is not vault:"),
        ("vault:kv#x", "is not vault:"),
        ("vault:kv/app", "is not vault:"),
    ],
)
def test_what_vault_does_not_have_is_said(vault: str, source: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        sources(vault).read(source)


def test_a_vault_that_is_sealed_away_or_refuses_is_said_without_its_token(vault: str) -> None:
    for source in ("vault:kv/sealed#x", "vault:kv/moved#x"):
        with pytest.raises(Unavailable) as caught:
            sources(vault).read(source)
        assert TOKEN not in caught.value.line()
    with pytest.raises(Unavailable):
        sources("http://127.0.0.1:9").read("vault:kv/app#x")
    with pytest.raises(ConfigurationError, match="refuses"):
        sources(vault, VAULT_TOKEN="hvs.another").read("vault:kv/team/app#password")
    with pytest.raises(ConfigurationError, match="address"):
        Sources.allowed({}).check("vault:kv/app#x")


def test_files_stay_in_their_folder_and_variables_have_their_prefix(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (tmp_path / "outside").write_text("outside")
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "inside").write_text("inside\n")
    found = Sources.allowed({"KUBIYA_SECRETS_DIR": str(folder), "KUBIYA_SECRET_A": "a value", "KUBIYA_API_KEY": "x"})
    assert found.read("file:inside") == "inside" and found.read("env:KUBIYA_SECRET_A") == "a value"
    for source in ("file:link", "file:../outside", f"file:{tmp_path}/outside", "env:KUBIYA_API_KEY", "env:HOME", "x:y"):
        with pytest.raises(ConfigurationError):
            found.read(source)
    with pytest.raises(ConfigurationError, match="Files may not be read as secrets"):
        Sources.allowed({}).check("file:inside")
