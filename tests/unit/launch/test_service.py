"""The files for systemd and launchd are read back by the tools of the host, where it has any."""

from __future__ import annotations

import plistlib
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError, NotAllowed, Unavailable, UsageError
from kubiya_worker.launch import launchd, local, service, service_files, service_plan, systemd, systemd_unit
from kubiya_worker.launch.daemon import CANCEL_SLACK, KILL_AFTER
from kubiya_worker.launch.service import Service
from kubiya_worker.launch.service_plan import TakenOver
from kubiya_worker.settings import resolve
from kubiya_worker.settings.sources import origins

KEY = "kby_canary_0123456789"
ODD = 'a "b" 50% $HOME \\x'
analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs Debian's package systemd")


def planned(
    environ: Mapping[str, str] | None = None, *, queue: str = "my.q-1", instance: int = 1, system: bool = True
) -> tuple[Service, list[str]]:
    environment = {"KUBIYA_API_KEY": KEY, "QUEUE_ID": queue, **(environ or {})}
    settings = resolve({}, environment, "/dev/null")
    taken = service_plan.taken_over(settings, origins({}, environment, "/dev/null"), environment)
    made = service_plan.service_of(settings, taken, sys.executable, instance=instance, system=system)
    return made, taken.notes


def lines(text: str, setting: str) -> list[str]:
    return re.findall(rf"^{setting}=(.*)$", text, re.MULTILINE)


def test_the_settings_of_the_shell_are_taken_over_and_defaults_are_not() -> None:
    made, _ = planned({"LOG_LEVEL": "debug", "HEARTBEAT_INTERVAL": "1m", "TZ": "Europe/Berlin"})
    wanted = {"KUBIYA_CLI_LOG_LEVEL": "DEBUG", "HEARTBEAT_INTERVAL": "60", "TZ": "Europe/Berlin"}
    assert made.environment == wanted


@pytest.mark.parametrize(
    ("flags", "environ", "taken"),
    [
        ({}, {}, TakenOver()),
        ({}, {"OPENAI_API_KEY": "sk"}, TakenOver(secrets={"OPENAI_API_KEY": "sk"})),
        ({}, {"OPENAI_API_KEY": ""}, TakenOver()),
        ({}, {"LOG_LEVEL": "info"}, TakenOver(environment={"KUBIYA_CLI_LOG_LEVEL": "INFO"})),
        (
            {},
            {"KUBIYA_PAYLOAD_STORAGE": "p"},
            TakenOver(environment={"KUBIYA_PAYLOAD_STORAGE": f"{Path.cwd()}/p"}),
        ),
        (
            {},
            {"KUBIYA_POLICY_FILE": "~/p.yaml"},
            TakenOver(files={"KUBIYA_POLICY_FILE": str(Path("~/p.yaml").expanduser())}),
        ),
        ({"daemon_mode": True, "max_log_backups": 3, "image": "x"}, {}, TakenOver()),  # a service has its own
        ({"no_cache": True, "no_update": False}, {}, TakenOver(switches=["--no-cache"])),
        (
            {},
            {"KUBIYA_SPOOL": "/x"},
            TakenOver(notes=["KUBIYA_SPOOL is not taken over: a service has its own folders"]),
        ),
        ({}, {"TZ": " Europe/Berlin "}, TakenOver(environment={"TZ": "Europe/Berlin"})),
        ({}, {"TZ": " "}, TakenOver()),
        ({}, {"NO_PROXY": "a,b"}, TakenOver(environment={"NO_PROXY": "a,b"})),
        ({}, {"ALL_PROXY": "http://u:p@h"}, TakenOver(notes=["ALL_PROXY holds a password and is not taken over"])),
        ({}, {"ALL_PROXY": "http://[h"}, TakenOver(notes=["ALL_PROXY holds a password and is not taken over"])),
        ({}, {"GEMINI_API_KEY": " g "}, TakenOver(secrets={"GEMINI_API_KEY": "g"})),
        ({}, {"AWS_SESSION_TOKEN": "t"}, TakenOver(notes=["AWS_SESSION_TOKEN is secret and is not taken over"])),
        ({}, {"HOME": "/h", "UNKNOWN": "x"}, TakenOver()),
    ],
)
def test_what_a_service_takes_over(flags: dict[str, Any], environ: dict[str, str], taken: TakenOver) -> None:
    environment = {"KUBIYA_API_KEY": KEY, "QUEUE_ID": "q", **environ}
    settings, found = resolve(flags, environment, "/dev/null"), origins(flags, environment, "/dev/null")
    assert service_plan.taken_over(settings, found, environment) == replace(
        taken, secrets={"KUBIYA_API_KEY": KEY, **taken.secrets}
    )


def test_a_service_runs_the_worker_in_the_foreground_with_its_switches() -> None:
    settings = resolve({}, {"KUBIYA_API_KEY": KEY, "QUEUE_ID": "q", "KUBIYA_GRACE_PERIOD": "90"}, "/dev/null")
    taken = TakenOver(environment={"TZ": "UTC"}, switches=["--no-cache"])
    first, third = (service_plan.service_of(settings, taken, "py", instance=n, system=False) for n in (1, 3))
    words = ("py", "-P", "-m", "kubiya_worker.cli.main", "worker", "start", "--queue-id", "q", "--type", "local")
    assert first.argv == (*words, "--no-cache")
    assert third.argv == (*words, "--instance", "3", "--no-cache")
    assert (third.name, third.system, third.environment) == ("kubiya-worker-q@3", False, {"TZ": "UTC"})
    assert first.stop_within == 90 + CANCEL_SLACK + KILL_AFTER


def test_secrets_are_in_no_unit_and_no_repr() -> None:
    secrets = {"OPENAI_API_KEY": "sk-canary", "LITELLM_API_KEY": "lite-canary", "ANTHROPIC_API_KEY": "ant-canary"}
    made, _ = planned(secrets)
    text = systemd_unit.unit(made) + repr(made) + launchd.plist(made, Path("/x")).decode()
    for secret in (KEY, *secrets.values()):
        assert secret not in text
    assert 'Environment="KUBIYA_API_KEY_FILE=%d/api-key"' in text
    assert f"LoadCredential=api-key:/etc/kubiya-worker/{made.name}/api-key" in text
    assert 'Environment="ANTHROPIC_API_KEY_FILE=%d/anthropic-api-key"' in text


def test_what_cannot_be_taken_over_is_said() -> None:
    made, notes = planned(
        {"HTTPS_PROXY": "http://me:pw@proxy:1", "AWS_SECRET_ACCESS_KEY": "s", "KUBIYA_WORKSPACE": "/srv/w"}
    )
    assert not {"HTTPS_PROXY", "AWS_SECRET_ACCESS_KEY", "KUBIYA_WORKSPACE"} & set(made.environment)
    for name in ("HTTPS_PROXY", "AWS_SECRET_ACCESS_KEY", "KUBIYA_WORKSPACE"):
        assert any(note.startswith(name) for note in notes), notes
    assert not any("pw" in note for note in notes)


def test_a_client_certificates_key_is_handed_over_as_a_credential() -> None:
    text = systemd_unit.unit(planned({"TEMPORAL_TLS_KEY": "/etc/ssl/private/50%.pem"})[0])
    assert "LoadCredential=temporal-tls-key:/etc/ssl/private/50%%.pem" in text
    assert 'Environment="TEMPORAL_TLS_KEY=%d/temporal-tls-key"' in text


@pytest.mark.parametrize(
    ("text", "word"),
    [(ODD, r'"a \"b\" 50%% $HOME \\x"'), ("", '""'), ("100%d", '"100%%d"'), ("ü'", '"ü\'"')],
)
def test_values_are_one_word_for_systemd(text: str, word: str) -> None:
    assert systemd_unit.quoted(text) == word


def test_a_command_line_replaces_no_variable() -> None:
    assert systemd_unit.argument("a$b") == '"a$$b"'
    assert systemd_unit.argument("/opt/k/bin/python") == "/opt/k/bin/python"


@pytest.mark.parametrize("text", ["a\nExecStart=/bin/sh", "a\rb", "\x00", "\x1b[0m"])
def test_a_value_cannot_begin_a_setting_of_its_own(text: str) -> None:
    with pytest.raises(ConfigurationError):
        systemd_unit.quoted(text)
    with pytest.raises(ConfigurationError):
        systemd_unit.escaped(text)


def test_names_of_queues_and_instances_do_not_meet() -> None:
    names = {service.name_of(queue, number) for queue in ("a", "a-2", "a.2") for number in (1, 2)}
    assert len(names) == 6
    assert service.name_of("x" * 128, 99) + ".service" == f"kubiya-worker-{'x' * 128}@99.service"
    labels = {launchd.label_of(queue, number) for queue in ("a", "a-2", "a.2") for number in (1, 2)}
    assert len(labels) == 6


def test_instances_share_no_folder() -> None:
    first, second = (systemd_unit.unit(planned(instance=number)[0]) for number in (1, 2))
    assert lines(first, "StateDirectory") == ["kubiya-worker/my.q-1"]
    assert lines(second, "StateDirectory") == ["kubiya-worker/my.q-1@2"]
    assert lines(second, "ExecStart")[0].endswith("--queue-id my.q-1 --type local --instance 2")


def test_the_stop_gives_running_work_its_time() -> None:
    text = systemd_unit.unit(planned({"KUBIYA_GRACE_PERIOD": "10m"})[0])
    assert float(lines(text, "TimeoutStopSec")[0]) > 600
    assert lines(text, "KillMode") == ["mixed"]
    assert lines(systemd_unit.unit(planned({"KUBIYA_KEEP_LONG_COMMANDS": "true"})[0]), "KillMode") == ["process"]
    assert lines(text, "RestartPreventExitStatus") == ["64 77 78"]


def test_growing_delays_where_systemd_knows_them() -> None:
    made, _ = planned()
    assert "RestartSteps" not in systemd_unit.unit(made, 252)
    assert lines(systemd_unit.unit(made, 254), "RestartSteps") == ["8"]


@analyze
@pytest.mark.parametrize("instance", [1, 2])
@pytest.mark.parametrize("queue", ["default", "A.b_c-9", "7b1e9c2e-0000-4000-8000-000000000000", "x" * 128])
def test_systemd_accepts_the_unit_without_a_word(queue: str, instance: int, tmp_path: Path) -> None:
    made, _ = planned({"ENVIRONMENT_NAME": ODD, "OPENAI_API_KEY": "x"}, queue=queue, instance=instance)
    path = tmp_path / f"{made.name}.service"
    path.write_text(systemd_unit.unit(made))
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.replace("\n", "")) == (0, ""), done.stderr


@analyze
@pytest.mark.parametrize("queue", ["default", "A.b_c-9"])
def test_systemd_accepts_the_unit_of_the_packages_for_any_queue(queue: str, tmp_path: Path) -> None:
    path = tmp_path / f"kubiya-worker@{queue}.service"
    path.write_text(systemd_unit.template(sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.replace("\n", "")) == (0, ""), done.stderr


def test_the_unit_of_the_packages_is_the_hosts_with_the_queue_for_an_instance() -> None:
    text = systemd_unit.template("/opt/kubiya-worker/bin/python3")
    assert "QUEUE" not in text
    assert lines(text, "LoadCredential") == ["api-key:/etc/kubiya-worker/%i/api-key"]
    assert lines(text, "EnvironmentFile") == ["-/etc/kubiya-worker/%i/environment"]
    assert 'Environment="KUBIYA_API_KEY_FILE=%t/credentials/%n/api-key"' in text, "systemd 249 has no %d"
    usual = systemd_unit.unit(planned(queue="x")[0]).splitlines()
    for line in (*systemd_unit.HARDENING.splitlines(), *systemd_unit.SYSTEM_HARDENING.splitlines()):
        assert line in text.splitlines() and line in usual


@analyze
def test_the_system_unit_is_exposed_by_2_0_at_most(tmp_path: Path) -> None:
    path = tmp_path / "kubiya-worker-default.service"
    path.write_text(systemd_unit.unit(planned(queue="default")[0]))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", path],
        capture_output=True,
        text=True,
        check=False,
    )
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert exposure, done.stderr
    assert float(exposure[1]) <= 2.0, done.stdout


def test_a_users_unit_asks_for_nothing_that_needs_privilege(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    made, _ = planned(system=False)
    text = systemd_unit.unit(made)
    for setting in ("DynamicUser", "CapabilityBoundingSet", "PrivateDevices", "ProtectClock", "ProtectKernelModules"):
        assert not lines(text, setting)
    assert lines(text, "PrivateUsers") == ["yes"]
    assert not lines(systemd_unit.unit(made, namespaces=False), "PrivateUsers")
    assert lines(text, "WantedBy") == ["default.target"]
    assert f"LoadCredential=api-key:{tmp_path}/.kubiya/services/{made.name}/api-key" in text
    assert systemd_unit.unit_file(made.name, system=False) == tmp_path / f".config/systemd/user/{made.name}.service"


def test_another_programs_unit_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "kubiya-worker-q.service"
    systemd.refuse_foreign(path)
    path.write_text(systemd_unit.unit(planned()[0]))
    systemd.refuse_foreign(path)
    link = tmp_path / "link.service"
    link.symlink_to(path)
    path_of_another = tmp_path / "another.service"
    path_of_another.write_text("[Service]\nExecStart=/bin/true\n")
    for refused in (link, path_of_another):
        with pytest.raises(ConfigurationError, match="not touched"):
            systemd.refuse_foreign(refused)


def test_secrets_are_files_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    service_files.write_secrets(folder, {"KUBIYA_API_KEY": KEY, "OPENAI_API_KEY": "old"})
    service_files.write_secrets(folder, {"KUBIYA_API_KEY": KEY + "2"})
    assert [path.name for path in folder.iterdir()] == ["api-key"]
    assert (folder / "api-key").read_text() == KEY + "2\n"
    assert stat.S_IMODE((folder / "api-key").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_installation_that_the_service_cannot_read_is_named(tmp_path: Path) -> None:
    assert service_files.unreachable([Path("/usr/bin/env")], system=True) is None
    assert service_files.unreachable([Path("/home/ada/venv/bin/python")], system=True)
    assert service_files.unreachable([Path("/home/ada/venv/bin/python")], system=False) is None
    assert service_files.unreachable([Path("/tmp/venv/bin/python")], system=False)
    with pytest.raises(ConfigurationError, match="/root/venv") as caught:
        service_files.refuse_unreachable([Path("/root/venv/bin/python")], system=True)
    assert "/opt/kubiya" in caught.value.remedy


def test_without_systemd_there_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(systemd, "BOOTED", tmp_path / "nowhere")
    with pytest.raises(Unavailable, match="No systemd runs here") as caught:
        systemd.usable(system=True)
    assert "kubiya worker start" in caught.value.remedy


def test_a_system_unit_is_roots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(systemd, "BOOTED", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(NotAllowed):
        systemd.usable(system=True)


def test_a_secret_from_a_file_is_in_no_environment_of_the_worker() -> None:
    environ = {"KUBIYA_API_KEY_FILE": "/run/x/api-key", "OPENAI_API_KEY": "sk"}
    found = local.keep_files({"KUBIYA_API_KEY": KEY, "OPENAI_API_KEY": "sk"}, environ)
    assert found == {"KUBIYA_API_KEY_FILE": "/run/x/api-key", "OPENAI_API_KEY": "sk"}


def test_the_plist_restarts_crashes_gives_time_and_holds_no_secret(tmp_path: Path) -> None:
    made, _ = planned({"ENVIRONMENT_NAME": ODD, "KUBIYA_GRACE_PERIOD": "90"}, instance=2)
    text = launchd.plist(made, tmp_path)
    assert KEY.encode() not in text
    found = plistlib.loads(text)
    assert found["Label"] == "ai.kubiya.worker.my.q-1@2"
    assert found["KeepAlive"] == {"SuccessfulExit": False}
    assert found["ExitTimeOut"] > 90
    assert found["EnvironmentVariables"]["ENVIRONMENT_NAME"] == ODD
    assert found["EnvironmentVariables"]["KUBIYA_API_KEY_FILE"] == str(tmp_path / "secrets" / "api-key")
    assert found["ProgramArguments"][:4] == [sys.executable, "-P", "-m", "kubiya_worker.cli.main"]


def test_another_programs_plist_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.plist"
    launchd.refuse_foreign(path)
    path.write_bytes(launchd.plist(planned()[0], tmp_path))
    launchd.refuse_foreign(path)
    for content in (plistlib.dumps({"Label": "x", "ProgramArguments": ["/bin/true"]}), b"no plist", b"\xff"):
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match="not touched"):
            launchd.refuse_foreign(path)


def test_macos_has_agents_of_users_only() -> None:
    with pytest.raises(UsageError):
        launchd.install(planned(system=True)[0], print)
