"""Programs of others that stand between the worker and a model, each in an environment of its own.

What is installed stands in `setup.cfg`, extra `gateways`: too heavy, and too particular about versions, for the
environment of the tests. It is kept in the user's cache, so that only the first run takes minutes.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from tests.support.prompt_cache import CachingEndpoint
from tests.support.stack import ROOT, free_port

INSTALL_SECONDS = 600.0
START_SECONDS = 240.0  # LiteLLM imports for half a minute on a busy machine
KEY = "sk-gateway-canary"


def requirements() -> list[str]:
    """Return the extra `gateways` of setup.cfg."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    return [line.strip() for line in parser["options.extras_require"]["gateways"].splitlines() if line.strip()]


@pytest.fixture(scope="session")
def gateways() -> Path:
    """The `bin` folder of the environment with the gateways."""
    wanted = requirements()
    name = hashlib.sha256("\n".join([*wanted, sys.version]).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "kubiya-worker-tests" / f"gateways-{name}"
    done = folder / "installed"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        python = str(folder / "bin" / "python")
        for argv in (
            [uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--quiet", "--python", python, *wanted],
        ):
            made = subprocess.run(argv, capture_output=True, text=True, timeout=INSTALL_SECONDS)
            if made.returncode:
                pytest.skip(f"the gateways cannot be installed: {made.stderr[-600:]}")
        done.touch()
    return folder / "bin"


@dataclass
class Gateway:
    """A gateway that runs: its base URL with `/v1`, and what it calls itself."""

    url: str
    version: str


@pytest.fixture(scope="module")
def endpoint() -> Iterator[CachingEndpoint]:
    """Anthropic's API, scripted: it refuses changed or missing thoughts, and keeps to the rules of its cache."""
    with CachingEndpoint() as running:
        yield running


@pytest.fixture(scope="module")
def litellm(gateways: Path, endpoint: CachingEndpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A LiteLLM proxy that serves the model `claude` from the scripted endpoint."""
    folder, port = tmp_path_factory.mktemp("litellm"), free_port()
    params = {"model": "anthropic/claude-sonnet-4-5", "api_base": endpoint.root, "api_key": "sk-upstream-canary"}
    document = {
        "model_list": [{"model_name": "our/claude", "litellm_params": params}],
        "litellm_settings": {"num_retries": 0, "drop_params": True},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "general_settings": {"master_key": KEY},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    log = folder / "log"
    argv = [str(gateways / "litellm"), "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    # Nothing is fetched from elsewhere: the table of prices is the one of the package.
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*"}
    with log.open("wb") as out:
        process = subprocess.Popen(argv, cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(lambda: _ready(f"{url}/health/liveliness"), process, log)
        version = subprocess.run(
            [str(gateways / "python"), "-c", "import importlib.metadata as m; print(m.version('litellm'))"],
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout.strip()
        print(f"LiteLLM {version} at {url}")
        yield Gateway(f"{url}/v1", version)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def _ready(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code == 200
    except (OSError, requests.RequestException):
        return False


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        said = log.read_text(errors="replace")[-3000:]
        assert process.poll() is None, f"it ended with {process.returncode}: {said}"
        assert time.monotonic() < deadline, f"it does not answer: {said}"
        time.sleep(0.2)
