"""The channel `apprise`: a message with a link, by one of the services that the library Apprise knows (an extra).

The library opens its own connections, so it works in a program of its own, whose connections, files and programs are
guarded (`apprise_program`). That program also gives its memory back, can be killed when it is late, and has none of
this process's environment: no proxy, no keys.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import sys
from typing import Any, Final

from kubiya_worker.server.notify import apprise_program as program
from kubiya_worker.server.notify.events import CRITICAL, INFO, WARNING
from kubiya_worker.server.notify.letter import Letter, body_of
from kubiya_worker.server.notify.outgoing import Outgoing, Undelivered, refused
from kubiya_worker.server.notify.settings import APPRISE, NETWORKS

EXTRA: Final = "The channel apprise needs the extra apprise: pip install 'kubiya-worker[server,apprise]'"
KINDS: Final = {INFO: "info", WARNING: "warning", CRITICAL: "failure"}
COMMAND: Final = (sys.executable, "-P", "-B", "-m", program.__name__)
# What the program needs of our environment: to be found, and to know the certificates that are trusted here.
_KEPT: Final = frozenset({"PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ"}) | {
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
}
_SCHEMA: Final = re.compile(r"([a-z][a-z0-9_+-]{0,29})://", re.IGNORECASE)
# The program's verdicts; those of `_FINAL` are the same at each try. None has a part of the URL in it.
_WHY: Final = {
    program.NO_LIBRARY: EXTRA,
    program.NO_URL: "The url is none that apprise understands for this service",
    program.UNCHECKED: "The url switches the check of certificates off (verify=no), which is not allowed",
    program.REDIRECTS: "The url wants redirects to be followed (redirect=yes), which is not allowed",
    program.ADDRESS: f"The service is not at a public address. An operator can allow a network: {NETWORKS}",
    program.LOCAL: "The service would read a file of this host or run a program on it, which is not allowed",
    program.FAILED: "The service did not take the message",
}
_FINAL: Final = frozenset({program.NO_URL, program.UNCHECKED, program.REDIRECTS, program.LOCAL})


def installed() -> bool:
    return importlib.util.find_spec("apprise") is not None


async def send(letter: Letter, out: Outgoing) -> None:
    if not installed():
        raise Undelivered(EXTRA)
    url = str(letter.channel["url"]).strip()
    service = _service(url, out.apprise)
    verdict = await _run(
        {
            "url": url,
            "service": service,
            "title": letter.data["title"],
            "body": letter.plain,
            "kind": KINDS[letter.data["severity"]],
            "networks": [str(network) for network in out.networks],
        }
    )
    why = verdict.get("why")
    if why == program.ANSWERED:
        raise refused(f"The service {service}", verdict["status"], verdict["retry_after"])
    if why == program.UNREACHED:
        raise Undelivered(f"The service {service} cannot be reached ({verdict['error']})")
    if why is not None:
        raise Undelivered(f"{service}: {_WHY[why]}", final=why in _FINAL)


def _service(url: str, allowed: frozenset[str]) -> str:
    """Return the service that a URL names, if the operator allows it. Raises Undelivered."""
    match = _SCHEMA.match(url)
    if match is None:
        raise Undelivered("The url is none of apprise: it begins with a service, such as pover://", final=True)
    service = match[1].lower()
    if service not in allowed:
        raise Undelivered(
            f"The operator of the control plane does not allow the service {service} of apprise: {APPRISE}={service}"
        )
    return service


async def _run(task: dict[str, Any]) -> dict[str, Any]:
    """Give the program its task and return its verdict. A cancellation kills it."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # the library's lines name what is in the URL
        cwd="/",
        env={name: value for name, value in os.environ.items() if name in _KEPT} | program.ENVIRONMENT,
        start_new_session=True,
    )
    try:
        output, _ = await process.communicate(body_of(task))
    except asyncio.CancelledError:
        if process.returncode is None:
            process.kill()
        await process.wait()
        raise
    try:
        verdict: dict[str, Any] = json.loads(output)
    except ValueError:
        raise Undelivered(f"{task['service']}: the program that sends ended with {process.returncode}") from None
    return verdict
