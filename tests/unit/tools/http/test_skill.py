"""The http skill: which URLs are fetched, and what is made of the answers of a real server on this host."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from kubiya_worker import addresses
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.pinned_http import Resolve
from kubiya_worker.tools.base import ToolContext, ToolResult
from kubiya_worker.tools.http.skill import HttpRequest
from kubiya_worker.tools.skill_configuration import Skill
from tests.unit.tools.cases import cases

ATTACKS, BENIGN = cases("ssrf.txt"), cases("ssrf_benign.txt")
CONTEXT = ToolContext("e1", "c1", Path("/tmp"), {"TOKEN": "t0ken-value"})


def names(**table: str) -> Resolve:
    async def resolve(host: str, port: int) -> Sequence[addresses.Address]:
        found = table.get(host.replace(".", "_"), table.get("any", ""))
        return [ipaddress.ip_address(text) for text in found.split()]

    return resolve


def tool(resolve: Resolve | None = None, **configuration: Any) -> HttpRequest:
    return HttpRequest(Skill("web", "http", {"allowed_hosts": ["*"], **configuration}), resolve)


def fetch(tool: HttpRequest, url: str, **arguments: Any) -> ToolResult:
    return asyncio.run(tool.run({"url": url, **arguments}, CONTEXT))


async def reach(case: str) -> Sequence[addresses.Address]:
    """Resolve and check the address of a fetch, without connecting."""
    url, _, found = case.partition(" => ")
    one = tool(names(any=found))
    return await one._addresses(one._target(url.removesuffix(" =>")))


def test_the_lists_are_long_enough_and_of_one_size() -> None:
    assert len(BENIGN) >= len(ATTACKS) >= 40


@pytest.mark.parametrize("case", ATTACKS)
async def test_what_is_not_public_is_refused(case: str) -> None:
    with pytest.raises(addresses.RequestRefused):
        await reach(case)


@pytest.mark.parametrize("case", BENIGN)
async def test_what_is_public_is_reached(case: str) -> None:
    assert await reach(case)


class Server(BaseHTTPRequestHandler):
    """Answers by path; keeps what it was sent."""

    seen: ClassVar[list[tuple[str, str, dict[str, str], bytes]]] = []

    def answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        self.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        path = self.path.split("?")[0]
        if path.startswith("/to/"):
            self.reply(302, b"", location=path[4:].replace("~", "/"))
        elif path == "/see-other":
            self.reply(303, b"", location="/hello")
        elif path == "/loop":
            self.reply(302, b"", location="/loop")
        elif path == "/bomb":
            self.reply(200, gzip.compress(b"x" * 50_000_000), encoding="gzip")
        elif path == "/brotli":
            self.reply(200, b"xx", encoding="br")
        elif path == "/binary":
            self.reply(200, b"\0\1\2", kind="image/png")
        elif path == "/latin":
            self.reply(200, "grün".encode("latin-1"), kind="text/plain; charset=iso-8859-1")
        elif path == "/missing":
            self.reply(404, b"nothing here")
        elif path == "/slow":
            self.server.stopping.wait(20)  # type: ignore[attr-defined]
            self.reply(200, b"late")
        else:
            self.reply(200, b"hello")

    def reply(
        self, status: int, body: bytes, *, location: str = "", encoding: str = "", kind: str = "text/plain"
    ) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        if location:
            self.send_header("location", location)
        if encoding:
            self.send_header("content-encoding", encoding)
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass  # the client has had enough

    do_GET = do_POST = do_DELETE = do_HEAD = answer

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    Server.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.stopping = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server.server_port
    server.stopping.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


def local(**configuration: Any) -> HttpRequest:
    """A tool for which 127.0.0.1 is an allowed private network, and two names stand for it."""
    table = names(site_example="127.0.0.1", other_example="127.0.0.1", evil_example="10.9.9.9")
    return tool(table, private_networks=["127.0.0.0/8"], **configuration)


def test_a_fetch_gives_status_and_text_and_the_server_sees_the_name(port: int) -> None:
    result = fetch(local(), f"http://site.example:{port}/a%20b?q=1")
    assert result.error is None and result.output.startswith("HTTP 200") and result.output.endswith("\n\nhello")
    method, path, headers, _ = Server.seen[0]
    assert (method, path, headers["host"]) == ("GET", "/a%20b?q=1", f"site.example:{port}")
    assert headers["accept-encoding"] == "identity" and "t0ken" not in str(headers)


def test_an_error_status_is_an_error_with_its_text(port: int) -> None:
    result = fetch(local(), f"http://site.example:{port}/missing")
    assert result.error == "HTTP 404" and "nothing here" in result.output


def test_redirects_are_followed_and_each_is_checked(port: int) -> None:
    assert "hello" in fetch(local(), f"http://site.example:{port}/to/~hello").output
    far = fetch(local(), f"http://site.example:{port}/to/http:~~evil.example~")
    assert far.error is not None and "10.9.9.9" in far.error
    assert "not a public address" in str(fetch(local(), f"http://site.example:{port}/to/http:~~169.254.169.254~").error)
    assert "Only http" in str(fetch(local(), f"http://site.example:{port}/to/file:~~~etc~passwd").error)
    named = local(allowed_hosts=["site.example"])
    assert "may be reached" in str(fetch(named, f"http://site.example:{port}/to/http:~~other.example:{port}~").error)
    assert "more than 5 times" in str(fetch(local(), f"http://site.example:{port}/loop").error)


def test_a_name_is_resolved_once_and_the_connection_goes_where_it_was_checked(port: int) -> None:
    """DNS rebinding: the second answer would be private, and is never asked for."""
    answers = [["127.0.0.1"], ["10.0.0.1"]]

    async def resolve(host: str, port: int) -> Sequence[addresses.Address]:
        return [ipaddress.ip_address(text) for text in answers.pop(0)]

    assert "hello" in fetch(tool(resolve, private_networks=["127.0.0.0/8"]), f"http://rebind.example:{port}/").output
    assert answers == [["10.0.0.1"]]


def test_configured_headers_carry_secrets_to_the_named_host_only(port: int) -> None:
    one = local(allowed_hosts=["site.example", "other.example"], headers={"Authorization": "Bearer {{TOKEN}}"})
    fetch(one, f"http://site.example:{port}/to/http:~~other.example:{port}~hello")
    assert [headers.get("authorization") for _, _, headers, _ in Server.seen] == ["Bearer t0ken-value", None]


def test_a_secret_that_is_not_there_is_a_refusal(port: int) -> None:
    one = local(allowed_hosts=["site.example"], headers={"Authorization": "Bearer {{.secret.GONE}}"})
    assert "the secret GONE" in str(fetch(one, f"http://site.example:{port}/").error)
    assert Server.seen == []


def test_writing_needs_to_be_allowed_and_a_see_other_is_read(port: int) -> None:
    assert "not allowed" in str(fetch(local(), f"http://site.example:{port}/", method="POST").error)
    writing = local(allowed_methods=["GET", "POST"])
    assert writing.spec.effects == ("egress", "write") and not writing.spec.idempotent and writing.spec.risk == "high"
    result = fetch(writing, f"http://site.example:{port}/see-other", method="POST", body='{"a": 1}')
    assert result.output.endswith("hello")
    assert [(seen[0], seen[3]) for seen in Server.seen] == [("POST", b'{"a": 1}'), ("GET", b"")]


@pytest.mark.parametrize(
    "name", ["Host", "Transfer-Encoding", "Metadata-Flavor", "X-aws-ec2-metadata-token", "a b", ""]
)
def test_headers_that_are_not_the_models_business_are_refused(name: str, port: int) -> None:
    assert "may not be set" in str(fetch(local(), f"http://site.example:{port}/", headers={name: "x"}).error)
    assert Server.seen == []


def test_a_header_cannot_hold_another(port: int) -> None:
    result = fetch(local(), f"http://site.example:{port}/", headers={"x": "1\r\nhost: evil"})
    assert "one line" in str(result.error) and Server.seen == []


def test_sizes_are_bounded_also_of_what_is_packed(port: int) -> None:
    result = fetch(local(max_response_size=1000), f"http://site.example:{port}/bomb")
    assert "longer than the 1000 bytes" in result.output and len(result.output) < 1500
    assert "encoding br" in str(fetch(local(), f"http://site.example:{port}/brotli").error)


def test_what_is_not_text_is_counted_and_what_is_is_decoded(port: int) -> None:
    assert "[3 bytes that are not text" in fetch(local(), f"http://site.example:{port}/binary").output
    assert fetch(local(), f"http://site.example:{port}/latin").output.endswith("grün")


def test_time_is_bounded(port: int) -> None:
    assert fetch(local(timeout=1), f"http://site.example:{port}/slow").error == "no whole answer within 1 seconds"


def test_a_server_that_is_not_there_is_said_so() -> None:
    result = fetch(local(), "http://site.example:1024/")
    assert result.error and "failed" in result.error and result.taints is False


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"allowed_hosts": None}, "`allowed_hosts` is missing"),
        ({"allowed_hosts": ["https://x.example"]}, "without scheme"),
        ({"allowed_methods": ["TRACE"]}, "`allowed_methods`"),
        ({"private_networks": ["10.0.0.1/8"]}, "such as 10.1.0.0/16"),
        ({"headers": {"X": "1"}}, "any host would be sent them"),
        ({"headers": {"X": "1\n2"}, "allowed_hosts": ["a.example"]}, "one-line values"),
        ({"timeout": 301}, "from 1 to 300"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(configuration: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        tool(**configuration)
    assert message in caught.value.line() and "'web'" in caught.value.line()
