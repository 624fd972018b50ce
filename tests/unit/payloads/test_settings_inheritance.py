"""Payload settings reach whoever needs them: the local stack, a container, a service."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.launch import docker, local, preflight, service_plan
from kubiya_worker.settings import Settings, resolve
from kubiya_worker.settings.sources import origins
from kubiya_worker.tools.shell.private_files import private_places

LINE = f"one {base64.b64encode(bytes(range(32))).decode()}\n"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "payload-keys"
    path.touch(0o600)
    path.write_text(LINE)
    return path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


def settings(**values: Any) -> Settings:
    return Settings(queue_id="q", api_key="k", **values)


def test_the_local_stack_tells_both_what_the_file_says(tmp_path: Path, keys: Path) -> None:
    (tmp_path / ".kubiya").mkdir()
    (tmp_path / ".kubiya" / "worker-config.yaml").write_text(f"payloads:\n  keys_file: {keys}\n  compression: zlib\n")
    told = local.payload_variables({"KUBIYA_PAYLOAD_STORAGE": str(tmp_path / "store")})
    assert told["KUBIYA_PAYLOAD_KEYS_FILE"] == str(keys)
    assert told["KUBIYA_PAYLOAD_COMPRESSION"] == "zlib"
    assert told["KUBIYA_PAYLOAD_STORAGE"] == str(tmp_path / "store")


def test_the_local_stack_does_not_start_with_keys_that_cannot_be_used(keys: Path) -> None:
    keys.chmod(0o644)
    with pytest.raises(ConfigurationError, match="open to others"):
        local.payload_variables({"KUBIYA_PAYLOAD_KEYS_FILE": str(keys)})
    with pytest.raises(ConfigurationError, match="open to others"):
        preflight.check(settings(payload_keys_file=str(keys)))  # before anything is asked


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"KUBIYA_PAYLOAD_COMPRESSION": "zstd"}, "one of none, zlib"),
        ({"KUBIYA_PAYLOAD_STORAGE_FROM": "1"}, "from 1024 to 2000000"),
        ({"KUBIYA_PAYLOAD_STORAGE_FROM": "much"}, "from 1024 to 2000000"),
    ],
)
def test_nonsense_is_refused_by_the_name_of_the_variable(variables: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{next(iter(variables))}.*{says}"):
        local.payload_variables(variables)


def test_relative_paths_are_made_absolute_and_buckets_are_not(keys: Path) -> None:
    told = local.worker_environment(settings(payload_keys_file="~/payload-keys", payload_storage="s3://bucket"), {})
    assert told["KUBIYA_PAYLOAD_KEYS_FILE"] == str(keys)
    assert told["KUBIYA_PAYLOAD_STORAGE"] == "s3://bucket"


def test_a_container_gets_the_keys_as_a_file_and_never_in_its_configuration(keys: Path) -> None:
    given = settings(payload_keys_file=str(keys))
    assert docker.files_of(given)["KUBIYA_PAYLOAD_KEYS_FILE"] == LINE
    shown = docker.environment_of(given, {})
    assert shown["KUBIYA_PAYLOAD_KEYS_FILE"] == "/run/kubiya/KUBIYA_PAYLOAD_KEYS_FILE"
    assert LINE.split()[1] not in repr(shown)


def test_a_service_gets_the_keys_as_a_credential(keys: Path) -> None:
    environ = {"KUBIYA_API_KEY": "k", "QUEUE_ID": "q", "KUBIYA_PAYLOAD_KEYS_FILE": str(keys)}
    made = service_plan.taken_over(resolve({}, environ, "/dev/null"), origins({}, environ, "/dev/null"), environ)
    assert made.files == {"KUBIYA_PAYLOAD_KEYS_FILE": str(keys)}
    assert "KUBIYA_PAYLOAD_KEYS_FILE" not in made.environment


def test_no_tool_of_the_shell_reads_the_keys(keys: Path, tmp_path: Path) -> None:
    assert keys in private_places({"KUBIYA_PAYLOAD_KEYS_FILE": str(keys)}, tmp_path)
