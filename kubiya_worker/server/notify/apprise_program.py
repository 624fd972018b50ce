"""This program sends one message by the library Apprise. It reads a task from stdin and writes a verdict to stdout.

Whoever writes a channel's URL decides where the library connects, and with some services which files it reads. So this
process is guarded by an audit hook, which cannot be taken away again: each connection goes to an address that was
checked (a redirect, a second request or a DNS answer that changes makes no difference), no program is run, and no file
outside of Python's own is opened.
"""

from __future__ import annotations

import importlib
import ipaddress
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from kubiya_worker import addresses
from kubiya_worker.addresses import Network, RequestRefused

LIFE: Final = 30  # seconds; whoever waits for it kills it sooner, unless killed itself
PATIENCE: Final = 15.0  # seconds for the service
ENVIRONMENT: Final = {"HOME": "/", "NETRC": os.devnull}  # no password of the operator's goes to a host

NO_LIBRARY: Final = "no library"
NO_URL: Final = "no url"
UNCHECKED: Final = "certificates are not checked"
REDIRECTS: Final = "redirects are followed"
ADDRESS: Final = "address"
LOCAL: Final = "local"
ANSWERED: Final = "answered"
UNREACHED: Final = "unreached"
FAILED: Final = "failed"

_CONNECTS: Final = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind"})
_PROGRAMS: Final = frozenset(
    {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork", "os.forkpty", "pty.spawn"}
)
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FILES: Final = frozenset(
    {"/etc/hosts", "/etc/resolv.conf", "/etc/localtime", "/etc/mime.types", "/dev/null", "/dev/urandom"}
)


class Guard:
    """`seen` is the first thing that was refused: the library tells nobody why it failed."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks
        ours = {sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(os.__file__).parent), "/usr/share"}
        # A relative entry of PYTHONPATH is the folder that this process runs in, which is the whole host.
        packages = set(filter(None, sys.path)) - {"/"}
        self._folders = tuple(os.path.realpath(each).rstrip("/") + "/" for each in ours | packages)
        self.seen = ""

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Let an event pass, or raise PermissionError, which libraries take for a failed connection."""
        if event in _CONNECTS:
            if not self.reaches(arguments[-1]):
                self._refuse(ADDRESS)
        elif event in _PROGRAMS or (event == "open" and not self.opens(arguments[0], arguments[2])):
            self._refuse(LOCAL)

    def reaches(self, address: Any) -> bool:
        """Return whether an address of a socket may be reached: a name or a path is none."""
        if not isinstance(address, tuple) or not address or not isinstance(address[0], str):
            return False
        literal = addresses.literal(address[0])
        try:
            addresses.check("it", [literal] if literal is not None else [], self._networks)
        except RequestRefused:
            return False
        return True

    def opens(self, path: Any, flags: Any) -> bool:
        """Return whether a file may be opened: for reading, where Python and its packages are."""
        if isinstance(path, int):
            return True  # it is open already
        if path is None or (isinstance(flags, int) and flags & _WRITES):
            return bool(path == os.devnull)
        real = os.path.realpath(os.fsdecode(path))
        return real in _FILES or os.fsdecode(path) in _FILES or real.startswith(self._folders)

    def _refuse(self, place: str) -> None:
        self.seen = self.seen or place
        raise PermissionError("refused")


def main() -> None:
    signal.alarm(LIFE)
    task = json.load(sys.stdin)
    out, sys.stdout = sys.stdout, sys.stderr  # a service that prints would spoil the verdict
    out.write(json.dumps(_verdict(task)))
    out.flush()


def _verdict(task: dict[str, Any]) -> dict[str, Any]:
    try:
        library: Any = importlib.import_module("apprise")
        plugins: Any = importlib.import_module("apprise.plugins")
    except ImportError:
        return {"why": NO_LIBRARY}
    about = plugins.url_to_dict("json://localhost")  # imports all services, before anything is guarded
    guard = Guard([ipaddress.ip_network(each) for each in task["networks"]])
    answers = _answers()
    sys.addaudithook(guard)
    try:
        about = plugins.url_to_dict(task["url"])
        if not about or about["schema"] != task["service"]:
            return {"why": NO_URL}
        about.setdefault("overflow", "split")  # a text that is too long for one message becomes several
        service = library.Apprise.instantiate(about, asset=_asset(library))
        if service is None:
            return {"why": guard.seen or NO_URL}
        if not service.verify_certificate:
            return {"why": UNCHECKED}
        if service.redirects:
            return {"why": REDIRECTS}
        sender = library.Apprise(asset=service.asset)
        sender.add(service)
        accepted = sender.notify(
            body=task["body"], title=task["title"], notify_type=task["kind"], body_format=library.NotifyFormat.TEXT
        )
    except Exception:  # a service's own fault; its words may hold what the URL holds
        accepted = False
    if accepted:
        return {}
    if guard.seen:
        return {"why": guard.seen}
    return answers[-1] if answers else {"why": FAILED}


def _asset(library: Any) -> Any:
    """Return how the library shows itself: as us, without pictures of a public host, and without a store on disk."""
    return library.AppriseAsset(
        app_id="Kubiya",
        app_desc="Kubiya",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        async_mode=False,
        http_redirects=False,
        service_timeout=PATIENCE,
        storage_mode="memory",
    )


def _answers() -> list[dict[str, Any]]:
    """Return a list that gets a verdict for each HTTP request that goes wrong; the library keeps none."""
    import requests

    verdicts: list[dict[str, Any]] = []
    send: Callable[..., requests.Response] = requests.Session.send

    def recorded(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        try:
            answer = send(session, request, **options)
        except requests.RequestException as error:
            verdicts.append({"why": UNREACHED, "error": type(error).__name__})
            raise
        if answer.status_code >= 300:
            wait = answer.headers.get("retry-after", "")
            verdicts.append({"why": ANSWERED, "status": answer.status_code, "retry_after": wait})
        return answer

    setattr(requests.Session, "send", recorded)  # noqa: B010 - of this process alone, which sends one message
    return verdicts


if __name__ == "__main__":
    main()
