"""`kubiya secrets`: the value comes from a file, from standard input or from a question, and is never printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kubiya_worker.cli import secrets
from kubiya_worker.errors import UsageError

VALUE = "c4nary-value-1\nof two lines"


class Api:
    """The double answers what the commands ask of the control plane."""

    def __init__(self) -> None:
        self.set: list[tuple[str, dict[str, str]]] = []
        self.removed: list[str] = []

    def object(self, method: str, path: str, body: dict[str, str]) -> dict[str, Any]:
        assert method == "PUT"
        name = path.removeprefix("/secrets/")
        self.set.append((name, body))
        return {"name": name, "used_by": [{"kind": "agent", "name": "ops"}]}

    def objects(self, path: str) -> list[dict[str, Any]]:
        assert path == "/secrets"
        by = {"name": "Ann"}
        about = {"updated_at": "2026-11-28T12:00:00+00:00", "updated_by": by, "source": "env:KUBIYA_SECRET_X"}
        return [{"name": "TOKEN", **about, "used_at": None, "used_by": [{"kind": "job", "name": "nightly"}]}]

    def ask(self, method: str, path: str) -> None:
        assert method == "DELETE"
        self.removed.append(path.removeprefix("/secrets/"))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    made = Api()
    monkeypatch.setattr(secrets, "connect", lambda: made)
    return made


def run(*argv: str, given: str | None = None) -> str:
    done = CliRunner().invoke(secrets.secrets, argv, input=given, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_value_comes_from_standard_input_or_a_file(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{VALUE}\n")
    shown = run("set", "TOKEN", given=f"{VALUE}\n") + run("set", "KEY", "--from-file", str(file))
    shown += run("set", "FAR", "--source", "vault:kv/app#password")
    assert api.set == [
        ("TOKEN", {"value": VALUE}),
        ("KEY", {"value": f"{VALUE}\n"}),  # a private key needs its last line break
        ("FAR", {"source": "vault:kv/app#password"}),
    ]
    assert "c4nary" not in shown and "used by agent ops" in shown


def test_the_command_line_takes_no_value(api: Api, tmp_path: Path) -> None:
    done = CliRunner().invoke(secrets.secrets, ["set", "TOKEN", VALUE])
    assert done.exit_code == 2 and api.set == []
    for argv, given in ((["set", "TOKEN"], "\n"), (["set", "TOKEN", "--from-file", str(tmp_path / "gone")], None)):
        with pytest.raises(UsageError):
            CliRunner().invoke(secrets.secrets, argv, input=given, catch_exceptions=False)


def test_the_list_says_who_and_what_for(api: Api) -> None:
    shown = run("ls")
    assert "TOKEN" in shown and "Ann" in shown and "never used" in shown and "job nightly" in shown
    assert '"used_by"' in run("ls", "-o", "json")
    assert "removed: TOKEN" in run("rm", "TOKEN") and api.removed == ["TOKEN"]
