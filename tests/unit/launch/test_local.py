"""A worker resolves to the settings of whoever started it, by its environment alone."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from kubiya_worker.launch import local
from kubiya_worker.settings import Settings, resolve
from kubiya_worker.settings.table import OPTIONS

OF_THE_START = {option.name for option in OPTIONS if option.role == "launch"}


def test_every_option_of_a_worker_has_a_variable() -> None:
    assert {option.name for option in OPTIONS if not option.env} <= OF_THE_START


def test_paths_mean_the_same_in_the_daemons_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = {"extensions": "mine.py, ~/more", "model_prices": "prices.yaml", "payload_storage": "kept"}
    told = local.worker_environment(Settings(queue_id="q", api_key="k", **paths), {})  # type: ignore[arg-type]
    assert told["KUBIYA_EXTENSIONS"] == f"{tmp_path}/mine.py,{Path.home()}/more"
    assert told["KUBIYA_MODEL_PRICES"] == f"{tmp_path}/prices.yaml"
    assert told["KUBIYA_PAYLOAD_STORAGE"] == f"{tmp_path}/kept"


def test_settings_of_the_file_are_the_workers(tmp_path: Path) -> None:
    config = tmp_path / "worker-config.yaml"
    config.write_text("queue_id: q\nresources:\n  activity_timeout: 2m\n  max_concurrent_activities: 3\n")
    given = resolve({}, {"KUBIYA_API_KEY": "kby_x"}, str(config))
    found = resolve({}, local.worker_environment(given, {}), "/dev/null")
    own = {field.name for field in fields(given)} - OF_THE_START
    assert {name: getattr(found, name) for name in own} == {name: getattr(given, name) for name in own}
    assert found.activity_timeout == 120
