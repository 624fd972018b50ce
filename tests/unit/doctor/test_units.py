"""The doctor reads units of systemd for what they do to long commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubiya_worker.doctor import units
from kubiya_worker.doctor.check import PASS, WARN
from kubiya_worker.launch import systemd_unit

KEEP = 'Environment="KUBIYA_KEEP_LONG_COMMANDS=true"\n'


@pytest.mark.parametrize(
    ("wanted", "text", "status"),
    [
        (False, "KillMode=mixed\n", PASS),
        (True, "KillMode=mixed\n", WARN),
        (False, KEEP + "KillMode=mixed\n", WARN),
        (False, KEEP, WARN),
        (False, KEEP + "KillMode=mixed\n[Service]\nKillMode=process\n", PASS),
        (False, "KUBIYA_KEEP_LONG_COMMANDS=1\nKillMode=mixed\n", WARN),
        (False, "KUBIYA_KEEP_LONG_COMMANDS=false\nKillMode=mixed\n", PASS),
    ],
)
def test_a_unit_that_ends_what_is_to_go_on_is_named(wanted: bool, text: str, status: str) -> None:
    found = units.long_commands(wanted, iter([("kubiya-worker-q.service", text)]))
    assert found.status == status
    if status == WARN:
        assert "kubiya-worker-q.service" in found.message and "systemctl edit kubiya-worker-q.service" in found.remedy


def test_units_of_the_queue_are_read_with_what_people_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def place(name: str, *, system: bool) -> Path:
        return tmp_path / ("system" if system else "user") / f"{name}.service"

    monkeypatch.setattr(systemd_unit, "unit_file", place)
    monkeypatch.setattr(units, "TEMPLATES", ())
    for folder in ("system", "user"):
        (tmp_path / folder).mkdir()
    unit = tmp_path / "user" / "kubiya-worker-q@2.service"
    unit.write_text("KillMode=mixed\n")
    (tmp_path / "user" / "kubiya-worker-other.service").write_text("KillMode=mixed\n")
    drop_ins = unit.with_name(f"{unit.name}.d")
    drop_ins.mkdir()
    (drop_ins / "override.conf").write_text("[Service]\nKillMode=process\n")
    assert list(units.texts("q")) == [(unit.name, "KillMode=mixed\n\n[Service]\nKillMode=process\n")]
