"""MCP servers that others have published, as tests/cases/mcp/published.json lists them.

Each is installed in the version that was tried, started, asked for its tools, and called where that needs no account,
no service and no network. Where npm or the package index is not to be had, the tests are skipped.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.tools import mcp
from kubiya_worker.tools.base import ToolContext
from kubiya_worker.tools.mcp import MOST_TOOLS
from kubiya_worker.tools.mcp.tool_limits import ALL_BYTES, size_of
from tests.support.mcp_cases import FOLDER
from tests.unit.tools.test_schemas import check

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TABLE = json.loads((FOLDER / "published.json").read_text())
SERVERS: list[dict[str, Any]] = TABLE["servers"]


def _installed(*argv: str, cwd: Path | None = None) -> None:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=600)
    if done.returncode:
        pytest.skip(f"{argv[0]} cannot install the servers: {done.stderr.strip()[-300:]}")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], str]:
    """Return a function that gives the path of a server's program, and installs its group of servers first."""
    places: dict[tuple[str, str], Path] = {}

    def place(registry: str, sdk: str) -> Path:
        own = [one for one in SERVERS if (one["registry"], one.get("sdk", "")) == (registry, sdk)]
        folder = tmp_path_factory.mktemp("published")
        if registry == "npm":
            npm = shutil.which("npm")
            if npm is None:
                pytest.skip("npm is not installed")
            packages = [f"{one['package']}@{one['version']}" for one in own]
            _installed(npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages, cwd=folder)
            return folder / "node_modules" / ".bin"
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
        packages = [f"{one['package']}=={one['version']}" for one in own]
        _installed(str(folder / "bin" / "pip"), "install", "-q", *filter(None, [sdk]), *packages)
        return folder / "bin"

    def find(server: dict[str, Any]) -> str:
        key = (server["registry"], server.get("sdk", ""))
        if key not in places:
            places[key] = place(*key)
        return str(places[key] / server["program"])

    return find


@pytest.fixture
def page(tmp_path: Path) -> Iterator[str]:
    """A page on this host."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "index.html").write_text("<html><body><p>served by the test</p></body></html>")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *ignored: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "www")))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_the_table_is_long_enough() -> None:
    assert len(SERVERS) >= 22 and sum("call" in server for server in SERVERS) >= 10
    assert all("call" in server or server["needs"] for server in SERVERS)


@pytest.mark.parametrize("server", [pytest.param(one, id=one["package"]) for one in SERVERS])
async def test_a_published_server_lists_its_tools_and_answers(
    server: dict[str, Any], program: Callable[[dict[str, Any]], str], page: str, tmp_path: Path
) -> None:
    places = {"{folder}": str(tmp_path / "files"), "{repository}": str(tmp_path / "repository"), "{page}": page}
    (tmp_path / "files").mkdir()
    if "{repository}" in json.dumps(server):
        subprocess.run(["git", "init", "-q", places["{repository}"]], check=True, timeout=30)

    def filled(value: Any) -> Any:
        text = json.dumps(value)
        for mark, place in places.items():
            text = text.replace(mark, place)
        return json.loads(text)

    command = program(server)
    places["{packages}"] = sysconfig.get_path("stdlib", vars={"installed_base": str(Path(command).parents[1])})
    settings = {"args": filled(server.get("args", [])), "env": filled(server.get("env", {})), "timeout": 45}
    opened = filled(server.get("write_paths", []))  # a server that writes beside its own packages
    reached = {"write_paths": opened, "grants": server.get("grants", [])}
    configured = mcp.parse({"s": {"command": command, **reached, **settings}})
    pool = mcp.SessionPool()
    try:
        found = await mcp.discover(configured, pool, {}, tmp_path, [])
        assert found.faults == [], found.faults
        assert len(found.specs) == server["tools"] <= MOST_TOOLS
        assert sum(map(size_of, found.specs)) <= ALL_BYTES
        for spec in found.specs:
            check(spec.parameters)
        if "call" in server:
            tools = {tool.spec.origin: tool for tool in mcp.tools_of(found.specs, configured, pool)}
            context = ToolContext("e1", "c1", tmp_path, keep_limit=1_000_000)
            result = await tools[f"s/{server['call']}"].run(filled(server["arguments"]), context)
            assert result.error is None and filled(server["answer"]) in result.output, result
    finally:
        await pool.close()
