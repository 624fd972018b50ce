"""The guide's Docker flags, as they are written there, reach the engine's side."""

from __future__ import annotations

from typing import Any

import click
import pytest

from kubiya_worker.cli import options
from kubiya_worker.cli.main import call, cli
from kubiya_worker.cli.worker_start import start
from kubiya_worker.launch import docker
from kubiya_worker.settings import Settings
from kubiya_worker.settings.table import OPTIONS

DEFAULT = "ghcr.io/kubiyabot/agent-worker:latest"


Asked = tuple[Settings, bool]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> list[Asked]:
    found: list[Asked] = []

    def run(settings: Settings, *, detach: bool, wait: float, say: Any) -> int:
        found.append((settings, detach))
        return 0

    monkeypatch.setattr(docker, "run", run)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBIYA_API_KEY", "kby_x")
    return found


@pytest.mark.parametrize(
    ("flags", "image", "pull", "detach"),
    [
        ([], DEFAULT, True, False),
        (["--image-tag=v1.2.3"], "ghcr.io/kubiyabot/agent-worker:v1.2.3", True, False),
        (["--image=host/worker", "--image-tag", "x"], "host/worker:x", True, False),
        (["--pull=false"], DEFAULT, False, False),
        (["--pull"], DEFAULT, True, False),
        (["--pull=true", "-d"], DEFAULT, True, True),
    ],
)
def test_flags_choose_image_pull_and_detaching(
    flags: list[str], image: str, pull: bool, detach: bool, asked: list[Asked]
) -> None:
    assert call(cli, ["worker", "start", "--queue-id=q", "--type=docker", *flags]) == 0
    ((settings, detached),) = asked
    assert (settings.queue_id, settings.image_reference, settings.pull, detached) == ("q", image, pull, detach)


def test_a_flag_switches_off_what_the_file_switches_on(asked: list[Asked], tmp_path: Any) -> None:
    file = tmp_path / "worker-config.yaml"
    file.write_text("queue_id: q\ndeployment_type: docker\ndaemon_mode: true\n")
    for flags, detach in (([], True), (["--daemon=false"], False), (["-d"], True), (["--daemon"], True)):
        assert call(cli, ["worker", "start", "--config", str(file), *flags]) == 0
        assert asked.pop()[1] is detach, flags


def test_what_docker_is_told_can_stand_in_the_file(asked: list[Asked], tmp_path: Any) -> None:
    file = tmp_path / "worker-config.yaml"
    file.write_text(
        "queue_id: q\ndeployment_type: docker\ndocker: {image: mine, pull: false, memory: 512m, cpus: 1.5}\n"
    )
    assert call(cli, ["worker", "start", "--config", str(file), "--cpus=0.5"]) == 0
    ((settings, _),) = asked
    assert (settings.image_reference, settings.pull) == ("mine:latest", False)
    assert (settings.memory, settings.cpus) == (512 << 20, 0.5)


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--memory=lots", "--memory 'lots' is not a size"),
        ("--cpus=0", "--cpus '0' is not a number of cores"),
        ("--cpus=nan", "--cpus 'nan' is not a number of cores"),
        ("--pull=perhaps", "--pull 'perhaps' is not true or false"),
        ("--type=vm", "--type 'vm' is not one of local, docker"),
    ],
)
def test_a_flag_that_is_wrong_is_refused(
    flag: str, said: str, asked: list[Asked], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(cli, ["worker", "start", "--queue-id=q", "--type=docker", flag]) == 64
    assert said in capsys.readouterr().err
    assert not asked


def test_an_api_key_on_the_command_line_is_refused(asked: list[Asked], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(cli, ["worker", "start", "--queue-id=q", "--api-key", "kby_secret"]) == 64
    assert "kby_secret" not in capsys.readouterr().err


def test_every_flag_of_the_table_is_one_of_the_command_and_means_what_the_table_says() -> None:
    given = {option.name: option for option in start.params if isinstance(option, click.Option)}
    for option in OPTIONS:
        if option.flag:
            also = [option.short, options.QUEUE if option.name == "queue_id" else None]
            assert {option.flag, *filter(None, also)} == set(given[str(option.name)].opts)
            assert given[option.name].help == options.help_text(option)
            assert given[option.name].default is None  # what is not typed counts for less than the file
