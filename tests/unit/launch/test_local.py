"""A worker resolves to the settings of whoever started it, by its environment alone."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from kubiya_worker.launch import local
from kubiya_worker.settings import resolve
from kubiya_worker.settings.table import OPTIONS

# What only bringing a worker up needs to know.
OF_THE_START = {"api_key_file", "deployment_type", "daemon_mode", "max_log_backups", "no_cache", "no_update"}


def test_every_option_of_a_worker_has_a_variable() -> None:
    assert {option.name for option in OPTIONS if not option.env} == OF_THE_START


def test_settings_of_the_file_are_the_workers(tmp_path: Path) -> None:
    config = tmp_path / "worker-config.yaml"
    config.write_text("queue_id: q\nresources:\n  activity_timeout: 2m\n  max_concurrent_activities: 3\n")
    given = resolve({}, {"KUBIYA_API_KEY": "kby_x"}, str(config))
    found = resolve({}, local.worker_environment(given, {}), "/dev/null")
    own = {field.name for field in fields(given)} - OF_THE_START
    assert {name: getattr(found, name) for name in own} == {name: getattr(given, name) for name in own}
    assert found.activity_timeout == 120
