"""This module loads what runs need right after the worker is ready, in a thread, so that the first run does not wait.

The MCP client, which few runs need, comes later: it takes as long to load as all the rest.

It is also what makes a replaced package harmless (`pip install -U`): a worker that has loaded all goes on with the
code that it has.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog

from kubiya_worker import garbage
from kubiya_worker.import_lock import IMPORTS
from kubiya_worker.process.counters import ActivityCounts
from kubiya_worker.process.dataclass_code import DataclassCode, file_of
from kubiya_worker.process.late_steps import CODE

log = structlog.get_logger()

# In the order in which a run needs them. tests/process/worker/test_preload.py finds what is missing.
MODELS: Final = (  # left out where only the demo model can be asked
    "kubiya_worker.models.session",
    "kubiya_worker.models.chat_endpoint",
    "httpcore2",
    "genai_prices.data",
)
TOOLS: Final = ("anyio._backends._asyncio", "anyio._core._sockets", "yaml")
QUIET_FOR: Final = 5.0  # seconds without a step, after which the MCP client is loaded
MCP: Final = (  # left out where the extra `mcp` is not installed
    "kubiya_worker.tools.mcp.client",
    "kubiya_worker.tools.mcp.http_client",
    "mcp.client.stdio",
    "mcp.client.sse",
    "mcp.client.streamable_http",
    "mcp.shared.message",
)
# Packages of extras: the variables of which one says that the package is used, and what a run needs of it. One that is
# not installed or not used is left out: each takes some 30 MiB and a second.
EXTRAS: Final = {
    "anthropic": (
        ("ANTHROPIC_API_KEY",),
        ("anthropic.resources.messages", "pydantic_ai.models.anthropic", "pydantic_ai.providers.anthropic"),
    ),
    "google.genai": (
        ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
        ("pydantic_ai.models.google", "pydantic_ai.providers.google"),
    ),
    "boto3": (
        ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK", "AWS_ROLE_ARN"),
        ("botocore.config", "pydantic_ai.models.bedrock", "pydantic_ai.providers.bedrock"),
    ),
}


async def preload(variables: Mapping[str, str], counts: Callable[[], ActivityCounts], *, endpoint: bool) -> None:
    """Load all that runs need. What cannot be loaded is logged; its run says the rest.

    `endpoint`: whether the worker knows an endpoint of models. `counts`: see `ActivityCounters.counts`.
    """
    began = time.monotonic()
    await _load_in_thread(load_kept, needed(variables, endpoint=endpoint))
    log.info("worker.loaded", seconds=time.monotonic() - began)
    if _installed("mcp"):
        await until_quiet(counts, QUIET_FOR)
        await _load_in_thread(load, MCP)
        log.debug("worker.mcp_client_loaded")


async def until_quiet(counts: Callable[[], ActivityCounts], seconds: float) -> None:
    """Return once no step has run for some seconds, so that no run shares its core with what comes next."""
    before = None
    while (now := counts()) != before or now.active:
        before = now
        await asyncio.sleep(seconds)


async def _load_in_thread(load: Callable[[Iterable[str]], list[str]], modules: Iterable[str]) -> None:
    with garbage.paused():
        faults = await asyncio.to_thread(load, modules)
    garbage.keep_loaded()
    for fault in faults:
        log.warning("worker.not_loaded", error=fault)


def needed(variables: Mapping[str, str], *, endpoint: bool) -> list[str]:
    """Return the modules that most runs need. CODE is first: a step that is here already waits for no other package."""
    providers = extras(variables)
    models = MODELS if endpoint or providers else ()
    return [*CODE, *models, *TOOLS, *providers]


def load_kept(modules: Iterable[str]) -> list[str]:
    """Import modules as `load` does, with the dataclasses' code that an earlier start has kept."""
    code = DataclassCode(file_of("steps"))
    with code.in_use():
        faults = load(modules)
    code.keep()
    return faults


def load(modules: Iterable[str]) -> list[str]:
    """Import modules and return what went wrong, one text for each that could not be imported."""
    faults = []
    for module in modules:
        try:
            with IMPORTS:  # one by one, so that a run need not wait for all of them
                importlib.import_module(module)
        except Exception as error:  # a package may raise anything while it is imported
            faults.append(f"{module}: {type(error).__name__}: {error}")
    return faults


def extras(variables: Mapping[str, str]) -> list[str]:
    """Return the modules of the extras that are installed and that these variables say are used."""
    packages: list[str] = []
    for package, (names, modules) in EXTRAS.items():
        if any(variables.get(name) for name in names) and _installed(package):
            packages += modules
    return ["kubiya_worker.models.native_endpoint", *packages] if packages else []


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the package that `package` is in
        return False
