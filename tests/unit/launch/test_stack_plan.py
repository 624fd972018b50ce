"""The programs of a local stack get addresses and environments of its own, and another shell what reaches them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.launch.stack_folder import StackFolder
from kubiya_worker.launch.stack_plan import DevServer, StackOptions, StackPlan

OWN = DevServer(Path("/opt/temporal"), 7001, 7002)
CALLER = {
    "PATH": "/bin",
    "QUEUE_ID": "another",
    "CONTROL_PLANE_URL": "https://elsewhere.example",
    "NOTIFY_SOCKET": "/caller",
    "OPENAI_API_KEY": "sk",
    "no_proxy": "a.example",
}


def plan(
    folder: Path, *, own: DevServer | None = OWN, payloads: dict[str, str] | None = None, **options: Any
) -> StackPlan:
    chosen = StackOptions(folder, **options)
    return StackPlan(chosen, StackFolder(folder), CALLER, payloads or {}, folder / "data", 7000, own, "kby_key")


def test_the_worker_is_sent_to_this_stack_and_to_no_other(tmp_path: Path) -> None:
    environment = plan(tmp_path, queue="q", model="demo").worker("/stack").environment
    for name, value in {
        "QUEUE_ID": "q",
        "CONTROL_PLANE_URL": "http://127.0.0.1:7000",
        "KUBIYA_API_KEY": "kby_key",
        "NOTIFY_SOCKET": "/stack",
        "KUBIYA_MODEL_OVERRIDE": "demo",
        "NO_PROXY": "a.example,127.0.0.1",
        "OPENAI_API_KEY": "sk",
        "TEMPORAL_TLS": "false",
    }.items():
        assert environment[name] == value
    assert "no_proxy" not in environment


@pytest.mark.parametrize(
    ("own", "options", "address", "page"),
    [
        (OWN, {}, "127.0.0.1:7001", "http://127.0.0.1:7002"),
        (DevServer(Path("/t"), 7001, None), {}, "127.0.0.1:7001", None),
        (None, {"temporal_address": "temporal.example:7233"}, "temporal.example:7233", None),
    ],
)
def test_a_person_is_told_where_temporal_is(
    tmp_path: Path, own: DevServer | None, options: dict[str, Any], address: str, page: str | None
) -> None:
    made = plan(tmp_path, own=own, **options)
    facts = made.facts(1.5)
    assert (facts.temporal_address, facts.temporal_ui_url, facts.seconds) == (address, page, 1.5)
    assert made.control_plane().argv[-5:-1] == ["--temporal-address", address, "--temporal-namespace", "default"]


def test_the_control_plane_gets_no_key_or_address_of_the_caller(tmp_path: Path) -> None:
    command = plan(tmp_path, model="demo", payloads={"KUBIYA_PAYLOAD_KEYS_FILE": "/k"}).control_plane()
    assert command.environment == {
        "PATH": "/bin",
        "OPENAI_API_KEY": "sk",
        "no_proxy": "a.example",
        "KUBIYA_PAYLOAD_KEYS_FILE": "/k",
    }
    assert command.argv[-2:] == ["--model", "demo"]
    assert command.umask == 0o077


@pytest.mark.parametrize(("ephemeral", "kept"), [(False, True), (True, False)])
def test_temporal_keeps_no_file_of_an_ephemeral_stack(tmp_path: Path, ephemeral: bool, kept: bool) -> None:
    command = plan(tmp_path, ephemeral=ephemeral).temporal(OWN)
    assert (str(tmp_path / "data" / "temporal.db") in command.argv) == kept
    assert command.environment == {"PATH": "/bin"}, "it needs no key of the caller"
    assert command.umask == 0o077, "other users must not read its database"


def test_another_shell_gets_the_key_and_the_payload_settings_and_no_queue(tmp_path: Path) -> None:
    payloads = {"KUBIYA_PAYLOAD_KEYS_FILE": "/k", "KUBIYA_PAYLOAD_COMPRESSION": "zstd"}
    made = plan(tmp_path, payloads=payloads)
    assert made.encrypted and not plan(tmp_path).encrypted
    assert made.shell_variables() == {
        "KUBIYA_API_KEY": "kby_key",
        "CONTROL_PLANE_URL": "http://127.0.0.1:7000",
        "CONTROL_PLANE_GATEWAY_URL": "http://127.0.0.1:7000",
        "TEMPORAL_ADDRESS": "127.0.0.1:7001",
        "KUBIYA_PAYLOAD_KEYS_FILE": "/k",
    }
    assert "kby_key" not in repr(made)
