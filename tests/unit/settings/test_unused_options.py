"""Options of other Kubiya programs that this worker does not use give one line each."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubiya_worker.cli.main import call, cli
from kubiya_worker.errors import ConfigurationError, UsageError
from kubiya_worker.settings import origins, unused_options
from kubiya_worker.settings.sources import misspelled
from kubiya_worker.settings.table import OPTIONS
from kubiya_worker.settings.unused_options import UNUSED_OPTIONS, UnusedOption
from kubiya_worker.settings.value_types import boolean

FLAGS = [entry for entry in UNUSED_OPTIONS if entry.flag]
VARIABLES = [(entry, name.replace("*", "ANYTHING")) for entry in UNUSED_OPTIONS for name in entry.env]


def test_nothing_is_both_taken_and_not() -> None:
    ours = {n for o in OPTIONS for n in (o.name, o.flag, *o.env) if n}
    assert not ours & {n for entry in UNUSED_OPTIONS for n in (entry.name, entry.flag, *entry.env) if n}


@pytest.mark.parametrize("entry", FLAGS, ids=lambda entry: entry.flag)
def test_a_flag_is_refused_by_name_with_what_to_do(
    entry: UnusedOption, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBIYA_API_KEY", "kby_x")
    value = [] if entry.parse is boolean else ["0"]
    assert call(cli, ["worker", "start", "--queue-id", "q", str(entry.flag), *value]) == 64
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(entry.flag) in said and entry.remedy in said


@pytest.mark.parametrize(("entry", "name"), VARIABLES, ids=[name for _, name in VARIABLES])
def test_a_variable_is_refused_or_told(entry: UnusedOption, name: str) -> None:
    environ = {name: "true"}
    if entry.refused:
        with pytest.raises(ConfigurationError, match=name):
            unused_options.refuse({}, environ)
        assert not list(unused_options.found_in(environ))
    else:
        unused_options.refuse({}, environ)
        (told,) = unused_options.found_in(environ)
        assert name in told.line and entry.says in told.line and entry.remedy in told.line


def test_what_is_switched_off_asks_for_nothing() -> None:
    environ = {
        "KUBIYA_WORKER_AUTOUPDATE_ENABLED": "false",
        "KUBIYA_ENABLE_LOCAL_PROXY": "0",
        "EVENT_TRANSPORT_MODE": "",
    }
    unused_options.refuse({"auto_update": None}, environ)
    assert not list(unused_options.found_in(environ))


def test_every_source_of_settings_refuses(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--auto-update is not for this worker"):
        origins({"auto_update": True}, {})
    with pytest.raises(ConfigurationError, match="KUBIYA_WORKER_AUTOUPDATE_ENABLED"):
        origins({}, {"KUBIYA_WORKER_AUTOUPDATE_ENABLED": "true"})


def test_none_of_them_counts_as_misspelled() -> None:
    assert misspelled({name: "x" for _, name in VARIABLES} | {"KUBIYA_CONFIG": "x"}) == {}


def test_the_page_of_a_worker_is_off_anyway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBIYA_API_KEY", raising=False)
    assert call(cli, ["worker", "start", "--queue-id", "q", "--no-webui"]) == 77  # it goes on to the key
    assert "No API key" in capsys.readouterr().err


def test_config_explain_knows_them(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("auto_update", "EVENT_TRANSPORT_MODE"):
        assert call(cli, ["config", "explain", name]) == 64
        assert f"{name} is not for this worker" in capsys.readouterr().err
