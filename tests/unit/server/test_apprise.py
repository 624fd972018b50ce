"""The channel `apprise`: the real library sends to a server on loopback, and reaches nothing else."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.server.notify import apprise, apprise_program, notifier
from kubiya_worker.server.notify.settings import OF_THIS_HOST, NotifySettings, settings
from tests.support.api import Api, Object
from tests.support.receiver import Receiver
from tests.support.stack import free_port
from tests.unit.server.test_notifications import send

PAGE = "https://cp.example.org"
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
ALLOWED = frozenset({"json", "jsons", "ntfy", "fcm", "pover"})
HERE = NotifySettings(LOOPBACK, PAGE, ALLOWED)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(tmp_path_factory.mktemp("apprise")) as made:
        yield made


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a try more than its 20 s: the first one compiles all of the library, and the machine may be busy."""
    monkeypatch.setattr(notifier, "PATIENCE", 120.0)


@pytest.fixture
def receiver(api: Api) -> Iterator[Receiver]:
    api.plane.notifier.use(HERE)
    with Receiver() as made:
        yield made
    for one in api.call("GET", "/notifications"):
        api.call("DELETE", f"/notifications/{one['id']}")


def channel_to(api: Api, url: str) -> Object:
    """Return a notification by a URL of apprise, which is a secret."""
    name = f"URL_{uuid.uuid4().hex[:8]}"
    api.call("PUT", f"/secrets/{name}", {"value": url})
    channel = {"type": "apprise", "url": f"{{{{.secret.{name}}}}}"}
    body = {"name": name.lower(), "channel": channel, "events": ["run_failed"]}
    made: Object = api.call("POST", "/notifications", body, 201)
    return made


def outcome_of(api: Api, made: Object) -> Object:
    told: Object = api.call("POST", f"/notifications/{made['id']}/test", {})
    return told


def local(receiver: Receiver, scheme: str = "json", path: str = "v3ry-hidden") -> str:
    return f"{scheme}://{receiver.url.partition('://')[2]}/{path}"


# -- with the library


def test_a_failed_run_is_told_by_a_service_of_the_library(api: Api, receiver: Receiver) -> None:
    made = channel_to(api, local(receiver))
    execution = api.execute()
    api.call("PATCH", f"/executions/{execution}", {"status": "failed", "error_message": "The disk is full"})
    send(api)
    (got,) = receiver.got
    assert got.path == "/v3ry-hidden" and got.json["type"] == "warning" and "failed" in got.json["title"]
    assert "The disk is full" in got.json["message"] and f"{PAGE}/#/executions/{execution}" in got.json["message"]
    assert "pprise" not in got.headers["user-agent"]
    (delivery,) = api.call("GET", f"/notifications/{made['id']}/deliveries")
    assert delivery["state"] == "sent"


def test_a_message_goes_to_a_topic_by_the_librarys_own_ntfy(api: Api, receiver: Receiver) -> None:
    assert outcome_of(api, channel_to(api, local(receiver, "ntfy", "on-call")))["state"] == "sent"
    (got,) = receiver.got
    assert (got.path, got.json["topic"]) == ("/", "on-call")


@pytest.mark.parametrize(("status", "word"), [(401, "answers 401"), (302, "redirects (302)")])
def test_a_refusal_says_the_status_and_nothing_of_the_url(
    api: Api, receiver: Receiver, caplog: pytest.LogCaptureFixture, status: int, word: str
) -> None:
    made = channel_to(api, local(receiver))
    receiver.answers.append((status, {"location": f"{receiver.url}/elsewhere"}))
    told = outcome_of(api, made)
    assert told["state"] == "dead" and word in told["error"] and len(receiver.got) == 1
    audit = api.call("GET", "/audit?limit=200")
    for text in (caplog.text, str(told), str(audit), str(api.call("GET", f"/notifications/{made['id']}"))):
        assert "v3ry-hidden" not in text and receiver.url not in text


def test_a_service_that_is_not_there_is_told_by_the_kind_of_failure(api: Api, receiver: Receiver) -> None:
    made = channel_to(api, f"json://127.0.0.1:{free_port()}/v3ry-hidden")
    assert outcome_of(api, made)["error"] == "The service json cannot be reached (ConnectionError)"
    assert "cannot be reached (SSLError)" in outcome_of(api, channel_to(api, local(receiver, "jsons")))["error"]


def test_a_service_says_when_to_come_again(api: Api, receiver: Receiver) -> None:
    made = channel_to(api, local(receiver))
    receiver.answers.append((429, {"retry-after": "120"}))
    execution = api.execute()
    api.call("PATCH", f"/executions/{execution}", {"status": "failed", "error_message": "no"})
    began = time.time()
    send(api)
    (delivery,) = api.call("GET", f"/notifications/{made['id']}/deliveries")
    assert delivery["state"] == "waiting" and delivery["error"] == "The service json answers 429"
    due = api.plane.stores.notification_deliveries.due_at(())
    assert due is not None and began + 110 < due < time.time() + 130


@pytest.mark.parametrize(
    ("query", "word"),
    [("?verify=no", "verify=no"), ("?redirect=yes", "redirect=yes")],
)
def test_what_would_weaken_the_way_is_refused_by_name(api: Api, receiver: Receiver, query: str, word: str) -> None:
    told = outcome_of(api, channel_to(api, local(receiver) + query))
    assert told["state"] == "dead" and word in told["error"] and not receiver.got


def test_only_networks_that_the_operator_named_are_reached(api: Api, receiver: Receiver) -> None:
    api.plane.notifier.use(NotifySettings((), PAGE, ALLOWED))
    for url in (local(receiver), local(receiver).replace("127.0.0.1", "localhost")):
        told = outcome_of(api, channel_to(api, url))
        assert told["state"] == "dead" and "KUBIYA_NOTIFY_NETWORKS" in told["error"]
    assert not receiver.got


def test_a_service_that_reads_a_file_of_the_host_gets_none(api: Api, receiver: Receiver, tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text("{}")
    told = outcome_of(api, channel_to(api, f"fcm://project/token/?keyfile={key}"))
    assert told["state"] == "dead" and "a file of this host" in told["error"] and str(key) not in told["error"]


def test_a_url_that_the_library_does_not_know_is_refused(api: Api, receiver: Receiver) -> None:
    assert "none that apprise understands" in outcome_of(api, channel_to(api, "pover://user"))["error"]
    assert "begins with a service" in outcome_of(api, channel_to(api, "hidden-token"))["error"]


def test_a_service_that_is_slow_is_ended(api: Api, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program is killed at the end of the try, so none is left behind."""
    started: list[asyncio.subprocess.Process] = []
    start = asyncio.create_subprocess_exec

    async def kept(*command: str, **options: object) -> asyncio.subprocess.Process:
        started.append(await start(*command, **options))  # type: ignore[arg-type]
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", kept)
    monkeypatch.setattr(apprise, "COMMAND", (sys.executable, "-c", "import time; time.sleep(600)"))
    for patience in (0.2, 2.0, 10.0):  # on a busy machine the try may be over before the program is started
        monkeypatch.setattr(notifier, "PATIENCE", patience)
        assert "no answer within" in outcome_of(api, channel_to(api, local(receiver)))["error"]
        if started:
            break
    assert [process.returncode for process in started] == [-9]


def test_the_program_has_nothing_of_the_environment(
    api: Api, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert outcome_of(api, channel_to(api, local(receiver)))["state"] == "sent"
    show = "import json, os; print(json.dumps({'why': 'answered', 'status': 500, 'retry_after': ''}))"
    show += "; assert 'S3CRET' not in os.environ and 'HTTP_PROXY' not in os.environ"
    monkeypatch.setenv("S3CRET", "x")
    monkeypatch.setattr(apprise, "COMMAND", (sys.executable, "-c", show))
    assert "answers 500" in outcome_of(api, channel_to(api, local(receiver)))["error"]


# -- the operator's list and the extra


def test_a_service_that_the_operator_has_not_allowed_is_refused_with_the_remedy(api: Api, receiver: Receiver) -> None:
    api.plane.notifier.use(NotifySettings(LOOPBACK, PAGE))
    told = outcome_of(api, channel_to(api, local(receiver)))
    assert told["state"] == "dead" and "KUBIYA_NOTIFY_APPRISE=json" in told["error"] and not receiver.got


def test_the_operator_lists_services_and_never_those_of_the_host() -> None:
    assert settings({"KUBIYA_NOTIFY_APPRISE": "pover, Matrixs json"}).apprise == {"pover", "matrixs", "json"}
    assert settings({}).apprise == frozenset()
    for name in sorted(OF_THIS_HOST):
        with pytest.raises(ConfigurationError, match="of this host itself"):
            settings({"KUBIYA_NOTIFY_APPRISE": f"json,{name}"})
    with pytest.raises(ConfigurationError, match="no service"):
        settings({"KUBIYA_NOTIFY_APPRISE": "json://host"})


def test_services_of_the_host_are_those_that_the_library_has() -> None:
    """A service that the library calls by a new name would pass the list; the guard still stops it."""
    show = "import apprise.manager_plugins as m; p = m.NotificationManager(); p.load_modules(); print(*p.schemas())"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True, timeout=60)
    assert set(done.stdout.split()) >= OF_THIS_HOST


def test_without_the_extra_a_definition_is_refused_and_a_delivery_says_so(
    api: Api, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = channel_to(api, local(receiver))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "apprise" else find(name))
    body = {"name": "n", "channel": made["channel"], "events": ["run_failed"]}
    assert "kubiya-worker[server,apprise]" in str(api.call("POST", "/notifications", body, 422)["detail"])
    assert "kubiya-worker[server,apprise]" in outcome_of(api, made)["error"]


def test_the_control_plane_itself_never_imports_the_library() -> None:
    show = "import sys, kubiya_worker.server.app; print('apprise' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


# -- the guard


@pytest.mark.parametrize(
    ("address", "reached"),
    [
        (("127.0.0.1", 80), True),
        (("8.8.8.8", 443), True),
        (("10.0.0.1", 80), False),
        (("169.254.169.254", 80), False),
        (("::1", 80, 0, 0), False),
        (("::ffff:10.0.0.1", 80, 0, 0), False),
        (("example.org", 80), False),
        (("", 80), False),
        ("/var/run/docker.sock", False),
        (b"\0bus", False),
    ],
)
def test_a_guard_lets_connections_reach_checked_addresses_alone(address: object, reached: bool) -> None:
    assert apprise_program.Guard(LOOPBACK).reaches(address) is reached


def test_a_guard_lets_files_of_python_be_read_alone(tmp_path: Path) -> None:
    guard = apprise_program.Guard(())
    beside = tmp_path / "link"
    beside.symlink_to("/etc/passwd")
    assert guard.opens(os.__file__, os.O_RDONLY) and guard.opens("/etc/hosts", 0) and guard.opens(3, 0)
    for path in ("/etc/passwd", "/proc/self/environ", beside, f"{sys.prefix}/../../../../../../etc/passwd"):
        assert not guard.opens(path, os.O_RDONLY)
    assert not guard.opens(os.__file__, os.O_WRONLY)


def test_a_guarded_process_runs_no_program_and_makes_no_connection(receiver: Receiver) -> None:
    """The real hook, in a process of its own."""
    show = f"""
import os, socket, subprocess, sys
from kubiya_worker.server.notify.apprise_program import Guard
guard = Guard(())
sys.addaudithook(guard)
for act in (lambda: subprocess.run(["true"]), lambda: os.system("true"), os.fork, lambda: open("/etc/passwd"),
            lambda: socket.create_connection(("127.0.0.1", {receiver.url.rpartition(":")[2]})),
            lambda: socket.socket(socket.AF_UNIX).connect("/x"),
            lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 514))):
    try:
        act()
    except PermissionError:
        print(guard.seen)
        guard.seen = ""
"""
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["local"] * 4 + ["address"] * 3, done.stderr
