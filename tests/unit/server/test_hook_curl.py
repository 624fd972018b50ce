"""These tests run the commands of docs/alerts.md for Nagios and Icinga, as these run them, against a real server."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.control_plane import ControlPlane

DOCUMENT = (Path(__file__).parents[3] / "docs/alerts.md").read_text()
ILLEGAL = "`~$&|'\"<>"  # illegal_macro_output_chars, as Nagios ships it
HOSTILE = "DISK CRITICAL - '; touch owned; echo ' $(touch owned) \"`touch owned`\" | free=2%"
NAGIOS = {
    **{"HOSTNAME": "web-1", "SERVICEDESC": "Disk /var", "SERVICESTATE": "CRITICAL"},
    **{"NOTIFICATIONTYPE": "PROBLEM", "SERVICEOUTPUT": HOSTILE},
}
ICINGA = {
    **{"host.name": "web-1", "service.name": "Disk /var", "service.state": "CRITICAL"},
    **{"notification.type": "PROBLEM", "service.output": HOSTILE},
}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("monitors")) as made:
        made.call("PUT", "/secrets/MONITOR", {"value": "monitors-secret"})
        for name in ("nagios", "icinga", "backups"):
            proof = {"secret": "{{.secret.MONITOR}}"}
            made.call("POST", "/hooks", {"name": name, "source": "json", "agent": "ops", "proof": proof}, 201)
        (made.folder / "header").write_text("Authorization: Bearer monitors-secret\n")
        yield made


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found, language
    return found[1]


def here(plane: ControlPlane, text: str) -> str:
    """Return a command of the document for this control plane and this file."""
    text = text.replace("http://control-plane:7777", plane.url)
    return re.sub(r"@/etc/[\w/-]+", lambda _: f"@{plane.folder / 'header'}", text)


def filled(text: str, macros: dict[str, str]) -> str:
    return re.sub(r"\$([A-Za-z.]+)\$", lambda found: macros[found[1]], text)


def came(plane: ControlPlane, hook: str) -> list[tuple[str, str, str]]:
    rows = plane.call("GET", f"/hooks/{hook}/deliveries")
    return [(row["verdict"], row["alert"]["title"], row["alert"].get("severity", "")) for row in rows]


def nagios(plane: ControlPlane, **macros: str) -> subprocess.CompletedProcess[str]:
    """Run the command as Nagios does: outputs of checks lose some characters, and a shell gets the line."""
    command = re.search(r"command_line\s+(.*)", block("nagios"))
    assert command
    values = {**NAGIOS, **macros}
    values["SERVICEOUTPUT"] = values["SERVICEOUTPUT"].translate({ord(c): None for c in ILLEGAL})
    line = filled(here(plane, command[1]), values)
    return subprocess.run(["/bin/sh", "-c", line], cwd=plane.folder, capture_output=True, text=True, timeout=60)


def test_a_notification_of_nagios_starts_a_run_and_its_recovery_is_told(plane: ControlPlane) -> None:
    done = nagios(plane)
    assert done.returncode == 0, done.stderr
    assert came(plane, "nagios") == [("started", "web-1: Disk /var", "critical")]
    done = nagios(plane, NOTIFICATIONTYPE="RECOVERY", SERVICESTATE="OK", SERVICEOUTPUT="DISK OK")
    assert done.returncode == 0, done.stderr
    assert came(plane, "nagios")[0] == ("told", "web-1: Disk /var", "info")
    assert not (plane.folder / "owned").exists()


def test_a_notification_of_icinga_starts_a_run(plane: ControlPlane) -> None:
    """Icinga calls no shell, so the output of a check comes as it is."""
    argv = re.findall(r'"((?:[^"\\]|\\.)*)"', block("icinga").partition("command = [")[2].partition("]\n")[0])
    argv = [filled(here(plane, each), ICINGA) for each in argv]
    done = subprocess.run(argv, cwd=plane.folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert came(plane, "icinga") == [("started", "web-1: Disk /var", "critical")]
    (row,) = plane.call("GET", "/hooks/icinga/deliveries")
    assert HOSTILE in row["body"].replace('\\"', '"')


def test_a_secret_that_is_wrong_fails_the_command(plane: ControlPlane) -> None:
    """`-f` makes it an exit code, which the monitor's log shows."""
    header = plane.folder / "header"
    right = header.read_text()
    header.write_text("Authorization: Bearer another\n")
    try:
        assert nagios(plane).returncode == 22
    finally:
        header.write_text(right)


def test_curl_without_a_content_type_sends_json(plane: ControlPlane) -> None:
    line = f"""curl -fsS {plane.url}/hooks/backups -H @{plane.folder / "header"} -d '{{"title": "It failed"}}'"""
    done = subprocess.run(shlex.split(line), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert came(plane, "backups") == [("started", "It failed", "")]
