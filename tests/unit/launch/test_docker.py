"""A container gets all settings that its worker needs, and no secret stands in its configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.launch import docker
from kubiya_worker.settings import Settings, origins, resolve
from kubiya_worker.settings.table import OPTIONS


def value_for(name: str) -> str:
    """One that is not the default and fits."""
    option = next(o for o in OPTIONS if o.name == name)
    words: list[str] = [
        *option.parse.schema.get("enum", ()),
        "true",
        "false",
        "7",
        "4000",
        "0.5",
        "https://x.example",
        "something",
    ]
    for text in words:
        try:
            if option.parse(text) != option.default:
                return text
        except ValueError:
            continue
    raise AssertionError(f"no value for {name}")


def test_the_worker_in_the_container_resolves_to_the_same_settings(tmp_path: Path) -> None:
    """Each option that concerns a worker, set to something else than its default, arrives."""
    environ = {o.env[0]: value_for(o.name) for o in OPTIONS if o.env and o.role == "worker"}
    given = resolve({}, environ, "/dev/null")
    inside = docker.environment_of(given, environ)
    for name, text in docker.secrets_of(given).items():
        file = tmp_path / name
        file.write_text(text)
        assert inside.pop(f"{name}_FILE") == f"{docker.SECRETS}/{name}"
        inside[f"{name}_FILE"] = str(file)
    there = resolve({}, inside, "/dev/null")
    for option in OPTIONS:
        if option.env and option.role == "worker":
            assert getattr(there, option.name) == getattr(given, option.name), option.name


def test_unused_places_are_refused_or_reported_by_name(tmp_path: Path) -> None:
    given = Settings(queue_id="q", api_key="k")
    assert list(docker.unused_places(given)) == []
    (line,) = docker.unused_places(replace(given, workspace=str(tmp_path)))
    assert line.startswith("KUBIYA_WORKSPACE has no effect with --type=docker:")
    with pytest.raises(ConfigurationError, match="KUBIYA_READINESS_SOCKET is not for --type=docker"):
        list(docker.unused_places(replace(given, readiness_socket=str(tmp_path / "socket"))))


def test_plain_text_to_temporal_that_was_asked_for_is_plain_text_in_the_container() -> None:
    given = Settings(queue_id="q", api_key="k", temporal_tls=False)
    assert docker.environment_of(given, {})["TEMPORAL_TLS"] == "false"


def test_defaults_unused_places_do_not_stand_over_those_of_the_image() -> None:
    shown = docker.environment_of(Settings(queue_id="q", api_key="k"), {})
    assert set(shown) == {*docker.ALWAYS_PASSED.values(), "KUBIYA_API_KEY_FILE", "KUBIYA_STATUS_FILE"}
    places = {name for o in OPTIONS if o.role in ("place", "launch") for name in o.env}
    shown = docker.environment_of(Settings("q", "k", alive_file="/x", python_path="/y"), {})
    assert places & set(shown) == {"KUBIYA_STATUS_FILE"}  # a place of the container's own


def test_files_that_settings_name_go_with_the_container(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("-----BEGIN CERTIFICATE-----\n")
    given = Settings(queue_id="q", api_key="k", temporal_tls_ca=str(ca))
    assert docker.files_of(given) == {"TEMPORAL_TLS_CA": ca.read_text()}
    assert docker.environment_of(given, {})["TEMPORAL_TLS_CA"] == "/run/kubiya/TEMPORAL_TLS_CA"
    with pytest.raises(ConfigurationError, match=r"TEMPORAL_TLS_CA: .*none\.pem cannot be read"):
        docker.files_of(Settings(queue_id="q", api_key="k", temporal_tls_ca=str(tmp_path / "none.pem")))


def test_every_option_that_names_a_file_is_of_a_role_that_says_whose() -> None:
    anywhere = {"payload_storage", "extensions"}  # paths that mean the worker's own file system
    found = {o.name for o in OPTIONS if o.parse.absolute and o.role == "worker"}
    assert found == anywhere
    assert {o.option.name for o in origins({}, {}, "/dev/null")} >= anywhere
