"""Model lists of OpenAI-compatible endpoints, and the servers of this host."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError, NotAllowed, TemporaryFailure, Unavailable
from kubiya_worker.models import listing
from kubiya_worker.models.listing import ListedEndpoint, ListedModel
from tests.support.stack import free_port

OLLAMA = {"object": "list", "data": [{"id": "qwen3:8b", "object": "model", "owned_by": "library"}]}


class Server:
    """Answers `/v1/models` as it is told."""

    def __init__(self) -> None:
        self.status, self.body, self.headers = 200, json.dumps(OLLAMA), dict[str, str]()
        self.asked: list[tuple[str, dict[str, str]]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                self.send_response(server.status)
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(server.body.encode())))
                self.end_headers()
                self.wfile.write(server.body.encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._http.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture(autouse=True)
def time_for_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give servers that answer more than half a second: on a busy machine they need it."""
    monkeypatch.setattr(listing, "LOCAL_TIMEOUT", 20.0)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.mark.parametrize(
    ("row", "window"),
    [
        ({"max_model_len": 32768}, 32768),  # vLLM
        ({"meta": {"n_ctx_train": 131072}}, 131072),  # llama.cpp
        ({"meta": {"n_ctx_train": 131072, "n_ctx": 8192}}, 8192),  # what is loaded is what counts
        ({"max_context_length": 40960, "loaded_context_length": 4096}, 4096),  # LM Studio
        ({"context_length": 200000}, 200000),  # OpenRouter
        ({"model_info": {"max_input_tokens": 128000}}, 128000),  # LiteLLM
        ({"context_length": True, "max_model_len": "8192"}, None),
        ({"context_length": 0}, None),
        ({}, None),
    ],
)
def test_the_window_stands_under_many_names(row: dict[str, Any], window: int | None) -> None:
    assert listing.parse({"data": [{"id": "m", **row}]}) == (ListedModel("m", window),)


@pytest.mark.parametrize("document", [None, [], {}, {"data": None}, {"data": {"id": "m"}}, "ok"])
def test_what_is_no_list_is_none(document: Any) -> None:
    with pytest.raises(ValueError, match="no list of models"):
        listing.parse(document)


def test_entries_without_a_name_are_left_out() -> None:
    assert listing.parse({"data": [None, {}, {"id": ""}, {"id": 3}, {"id": " m "}]}) == (ListedModel("m"),)


def test_a_local_server_is_known_by_its_list_and_not_by_its_port(server: Server) -> None:
    found = listing.local_servers({"vLLM": server.port, "LM Studio": free_port()})
    assert [(a.endpoint.label, a.endpoint.url, a.models) for a in found] == [
        ("Ollama", server.url, (ListedModel("qwen3:8b"),))
    ]
    assert "authorization" not in server.asked[0][1]
    assert listing.summary(found[0]) == f"Ollama at {server.url}: qwen3:8b"
    assert listing.first_with("qwen3:8b", found) == found[0].endpoint
    assert listing.first_with("qwen3", found) is None
    assert listing.local_servers({"vLLM": server.port}, known=[f"http://localhost:{server.port}/v1"]) == []


@pytest.mark.parametrize("body", ["<html>hello</html>", "{}", '{"data": []}', '{"data": "x"}', "[1, 2]", "null"])
def test_another_program_on_a_usual_port_is_passed_over(server: Server, body: str) -> None:
    server.body = body
    assert listing.local_servers({"llama.cpp": server.port}) == []


def test_a_server_that_says_nothing_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "LOCAL_TIMEOUT", 0.5)
    silent = [socket.create_server(("127.0.0.1", 0)) for _ in range(40)]
    began = time.monotonic()
    assert listing.local_servers({str(n): s.getsockname()[1] for n, s in enumerate(silent)}) == []
    assert time.monotonic() - began < 20 * listing.LOCAL_TIMEOUT  # all at once, not one after the other
    for each in silent:
        each.close()


def test_no_proxy_is_used_for_this_host(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert listing.local_servers({"vLLM": server.port})


def test_a_redirect_leads_nowhere(server: Server) -> None:
    server.status, server.headers = 302, {"Location": "http://127.0.0.1:1/elsewhere"}
    assert listing.local_servers({"vLLM": server.port}) == []
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (401, NotAllowed, "refuses the key"),
        (403, NotAllowed, "refuses the key"),
        (404, ConfigurationError, "end in /v1"),
        (429, TemporaryFailure, "limits the number of requests"),
        (500, Unavailable, "answers 500"),
    ],
)
def test_a_refusal_says_what_to_do_and_not_the_key(server: Server, status: int, kind: type, says: str) -> None:
    server.status = status
    fault = listing.ask(ListedEndpoint("", server.url, "sk-canary")).fault
    assert fault is not None and isinstance(fault, kind) and says in fault.line() and "sk-canary" not in fault.line()
    assert server.asked[0][1]["authorization"] == "Bearer sk-canary"


def test_a_list_without_an_end_is_not_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST_BYTES", 10)
    fault = listing.ask(ListedEndpoint("", server.url)).fault
    assert fault is not None and "more than" in fault.line()
