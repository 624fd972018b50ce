"""The guide's Docker flags, as they are written there, reach the engine's side."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.cli.main import call, cli
from kubiya_worker.launch import docker
from kubiya_worker.settings import Settings


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> list[tuple[str, docker.Image, bool]]:
    found: list[tuple[str, docker.Image, bool]] = []

    def run(settings: Settings, image: docker.Image, *, detach: bool, say: Any) -> int:
        found.append((settings.queue_id, image, detach))
        return 0

    monkeypatch.setattr(docker, "run", run)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBIYA_API_KEY", "kby_x")
    return found


@pytest.mark.parametrize(
    ("flags", "image", "detach"),
    [
        ([], docker.Image(), False),
        (["--image-tag=v1.2.3"], docker.Image(tag="v1.2.3"), False),
        (["--image=host/worker", "--image-tag", "x"], docker.Image("host/worker", "x"), False),
        (["--pull=false"], docker.Image(pull=False), False),
        (["--pull"], docker.Image(), False),
        (["--pull=true", "-d"], docker.Image(), True),
    ],
)
def test_docker_flags(
    flags: list[str], image: docker.Image, detach: bool, asked: list[tuple[str, docker.Image, bool]]
) -> None:
    assert call(cli, ["worker", "start", "--queue-id=q", "--type=docker", *flags]) == 0
    assert asked == [("q", image, detach)]


def test_an_api_key_on_the_command_line_is_refused(
    asked: list[tuple[str, docker.Image, bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(cli, ["worker", "start", "--queue-id=q", "--api-key", "kby_secret"]) == 64
    assert "kby_secret" not in capsys.readouterr().err
