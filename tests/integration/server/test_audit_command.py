"""`kubiya audit` against a control plane: list, export, and find what somebody did to the database behind its back."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubiya_worker.server.store.schema import TRIGGERS
from tests.support import databases
from tests.support.control_plane import ControlPlane
from tests.support.stack import BIN

CHAIN = ("audit", "audit_heads")


@pytest.fixture(scope="module")
def one_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane")) as running:
        for number in range(5):
            running.call("POST", "/agents", {"name": f"a{number}"}, 201)
        yield running


@pytest.fixture
def plane(one_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane with its records; whatever a test does to them is undone."""
    with databases.opened(one_plane.database) as connection:
        kept = {table: connection.execute(f"select * from {table}").fetchall() for table in CHAIN}
    yield one_plane
    touch(one_plane, *(f"delete from {table}" for table in CHAIN))
    with databases.opened(one_plane.database) as connection:
        for table, rows in kept.items():
            for row in rows:
                connection.execute(f"insert into {table} values ({', '.join('?' * len(row))})", tuple(row))


def kubiya(plane: ControlPlane, *arguments: str) -> subprocess.CompletedProcess[str]:
    told = {"KUBIYA_API_KEY": plane.key, "CONTROL_PLANE_URL": plane.url, "HOME": str(plane.folder)}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KUBIYA")} | told
    command = [str(BIN / "kubiya"), "audit", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


def touch(plane: ControlPlane, *statements: str) -> None:
    """Change the file as somebody with the rights of its owner can, past the triggers."""
    with databases.opened(plane.database) as connection:
        for trigger, (what, _) in TRIGGERS.items():
            where = f" on {what.rpartition(' ')[2]}" if databases.POSTGRESQL else ""
            connection.execute(f"drop trigger if exists {trigger}{where}")
        for statement in statements:
            connection.execute(statement)


def test_records_are_listed_exported_and_checked(plane: ControlPlane, tmp_path: Path) -> None:
    listed = kubiya(plane, "ls", "--action", "agent.create", "--since", "1h", "-n", "2")
    assert listed.returncode == 0, listed.stderr
    titles, *lines = listed.stdout.splitlines()
    assert titles.split() == ["NUMBER", "TIME", "WHO", "WHAT"]
    assert [line.rpartition("agent.create ")[2] for line in lines] == ["a3", "a4"]
    assert "local user from 127.0.0.1" in lines[0]
    as_json = [json.loads(line) for line in kubiya(plane, "ls", "-o", "json", "--object", "a4").stdout.splitlines()]
    assert [record["object"]["name"] for record in as_json] == ["a4"]
    assert as_json[0]["who"]["id"] == "local"
    head = kubiya(plane, "head").stdout.strip()
    assert head == plane.call("GET", "/audit/head")["head"]
    file = tmp_path / "audit.jsonl"
    assert kubiya(plane, "export", "--file", str(file)).returncode == 0
    assert len(file.read_text().splitlines()) == int(head.partition(":")[0])
    for more in ([], ["--file", str(file)], ["--file", str(file), "--head", head], ["--head", head]):
        checked = kubiya(plane, "verify", *more)
        assert checked.returncode == 0, (more, checked.stdout, checked.stderr)
        assert "none was changed, removed, moved or inserted" in checked.stdout
    seventh = json.loads(file.read_text().splitlines()[6])
    rest = tmp_path / "rest.jsonl"
    rest.write_text(kubiya(plane, "export", "--after", "7").stdout)
    assert kubiya(plane, "verify", "--file", str(rest)).returncode == 1  # the first seven are missing
    assert kubiya(plane, "verify", "--file", str(rest), "--after", f"7:{seventh['hash']}").returncode == 0
    assert kubiya(plane, "verify", "--head", "nonsense").returncode == 64
    assert kubiya(plane, "ls", "--since", "yesterday").returncode == 64


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("update audit set record = replace(record, '\"a1\"', '\"a9\"') where record like '%\"a1\"%'", "was changed"),
        ("delete from audit where seq = 3", "record 3 is missing"),
        ("delete from audit where seq > 10", "missing at the end"),
        ("update audit set record = (select record from audit where seq = 4) where seq = 5", "stands a second time"),
    ],
)
def test_what_somebody_did_to_the_file_is_named(plane: ControlPlane, statement: str, told: str) -> None:
    touch(plane, statement)
    checked = kubiya(plane, "verify")
    assert checked.returncode == 1
    assert told in checked.stdout, checked.stdout
    assert "The chain is broken" in checked.stderr


def test_a_head_that_was_kept_finds_a_cut_end_whose_note_was_changed_too(plane: ControlPlane) -> None:
    kept = kubiya(plane, "head").stdout.strip()
    last = int(kept.partition(":")[0])
    with databases.opened(plane.database) as database:
        (record,) = database.execute("select record from audit where seq = ?", (last - 2,)).fetchone()
    new = f"seq = {last - 2}, hash = '{json.loads(record)['hash']}'"
    touch(plane, f"delete from audit where seq > {last - 2}", f"update audit_heads set {new}")
    assert kubiya(plane, "verify").returncode == 0  # a chain alone cannot know
    checked = kubiya(plane, "verify", "--head", kept)
    assert checked.returncode == 1
    assert f"records {last - 1} to {last} are missing at the end" in checked.stdout


def test_a_key_that_is_made_beside_the_server_goes_on_with_its_chain(plane: ControlPlane) -> None:
    """Another process writes the record in between."""
    plane.key_of("local")
    plane.call("POST", "/agents", {"name": "after"}, 201)
    found = plane.call("GET", "/audit?limit=2")
    assert [record["action"] for record in found] == ["agent.create", "key.create"]
    assert kubiya(plane, "verify").returncode == 0
