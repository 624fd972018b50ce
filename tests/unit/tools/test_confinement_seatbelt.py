"""The text for macOS's `sandbox-exec` has the shape that it needs. Whether macOS obeys it, the worker tries there."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kubiya_worker.tools.confinement import seatbelt, spawn, support
from kubiya_worker.tools.confinement.process_profile import Profile
from kubiya_worker.tools.confinement.profile import make

PROFILE = Profile("/srv/ws", reads=("/srv/data",), writes=("/srv/out",), own=("/srv/python",), private=("/srv/keys",))


def last(text: str, what: str, path: str) -> str:
    """Return the word of the last rule for an operation that names a path or says nothing of paths."""
    rules = [
        line for line in text.splitlines() if what in line and (f'"{path}"' in line or line == "(deny file-write*)")
    ]
    return rules[-1].split()[0].lstrip("(")


def test_it_is_one_list_of_rules_with_balanced_brackets() -> None:
    lines = seatbelt.text(replace(PROFILE, reads=('/srv/a "b" (c)\\',))).splitlines()
    assert lines[:3] == ["(version 1)", "(allow default)", "(deny file-write*)"]
    assert r'(subpath "/srv/a \"b\" (c)\\")' in "\n".join(lines)
    for line in lines:
        bare = re.sub(r'"(\\.|[^"\\])*"', "", line)
        assert bare.count("(") == bare.count(")") and bare.startswith("(") and bare.endswith(")"), line
        assert "()" not in bare


def test_the_last_rule_for_each_place_is_the_right_one() -> None:
    text = seatbelt.text(PROFILE)
    for path, reads, writes in (
        ("/srv/ws", "allow", "allow"),
        ("/srv/data", "allow", "deny"),
        ("/srv/out", "allow", "allow"),
        ("/srv/python", "allow", "deny"),
        ("/srv/keys", "deny", "deny"),
        ("/Users", "deny", "deny"),
    ):
        assert (last(text, "file-read", path), last(text, "file-write*", path)) == (reads, writes), path


def test_a_private_place_below_the_workspace_is_closed_last_and_one_above_it_is_not() -> None:
    below = seatbelt.text(replace(PROFILE, private=("/srv/ws/.kubiya",)))
    assert last(below, "file-read", "/srv/ws/.kubiya") == "deny"
    assert below.index('(allow file-read* file-write* (subpath "/srv/ws"))') < below.rindex('"/srv/ws/.kubiya"')
    above = seatbelt.text(replace(PROFILE, private=("/srv",)))
    assert above.index('(allow file-read* file-write* (subpath "/srv/ws"))') > above.rindex('(subpath "/srv")')


def test_network_sockets_and_signals_are_closed_where_nothing_opens_them() -> None:
    assert "(deny network*)" not in seatbelt.text(PROFILE)
    assert seatbelt.text(replace(PROFILE, network=False)).rindex("(deny network") > 0
    assert "mDNSResponder" not in seatbelt.text(replace(PROFILE, network=False))
    assert "(deny network-outbound (remote unix-socket))" in seatbelt.text(PROFILE)
    assert "unix-socket" not in seatbelt.text(replace(PROFILE, unix_sockets=True))
    assert "(deny signal (target others))" in seatbelt.text(PROFILE)
    assert "(deny signal" not in seatbelt.text(replace(PROFILE, signals=True))


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "sandbox-exec"
    monkeypatch.setattr(seatbelt, "PROGRAM", str(path))
    yield path


def test_a_host_where_it_does_not_work_is_not_called_confined(stand_in: Path) -> None:
    assert "cannot be used" in seatbelt.fault()
    for script, says in (
        ('echo "bad profile" >&2; exit 65', "(exit code 65): bad profile"),
        ('shift 2; exec "$@"', "does not keep a program from a private file"),
        ('shift 2; [ "$1" = /bin/ls ]', ""),
    ):
        stand_in.write_text(f"#!/bin/sh\n{script}\n")
        stand_in.chmod(0o755)
        assert says in seatbelt.fault() and bool(says) == bool(seatbelt.fault())


def test_programs_are_started_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "probe", lambda: support.Support(0, seatbelt=True))
    limits = make(tmp_path)
    program, argv = spawn.command(limits, "/bin/ls", ("ls", "-l"))
    assert program == seatbelt.PROGRAM and argv == (seatbelt.PROGRAM, "-p", seatbelt.text(limits), "/bin/ls", "-l")
    assert spawn.command(None, "/bin/ls", ("ls",)) == ("/bin/ls", ("ls",))
    assert spawn.confined(limits, lambda: "started") == "started"
