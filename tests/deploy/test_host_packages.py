"""The archive, the .deb and the .rpm with a Python of their own, on hosts where there is none.

Needs root, a package index and Debian's mirror. `bookworm` is the oldest Debian whose C library is new enough.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.deploy import engine
from tests.support.stack import ROOT, Stack, wait_until
from tests.support.systemd_container import BASE, PACKAGES, Machine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
EPOCH = "1790000000"
NEWER_THAN_RED_HAT_9 = re.compile(rb"GLIBC_2(?=\.(3[5-9]|[4-9]\d)\0)")
LIBRARIES_TRY = (
    "import xml.etree.ElementTree as e, bz2, ctypes, hashlib, lzma, math, sqlite3, ssl, uuid, zlib;"
    "print(e.fromstring('<a/>').tag, math.hypot(3, 4))"
)
SAYS_WHERE = 'demo:script [{"text": "Here."}]'
SLEEPS = 'demo:script [{"tools": [{"name": "sleep", "arguments": {"seconds": 5}}]}, {"text": "It slept."}]'
DEMO = """\
set -e
kubiya dev --port 0 --temporal-port 0 --no-ui --json >/tmp/dev 2>/tmp/dev.log &
i=0
until [ -s /tmp/dev ]; do i=$((i + 1)); [ $i -lt 1200 ] || { cat /tmp/dev.log; exit 1; }; sleep 0.1; done
. ~/.kubiya/dev/env
kubiya exec agent ops "read /etc/hostname"
kill $!
wait $!
"""


def run(*argv: object, env: Mapping[str, str] | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(word) for word in argv],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=1500,
    )
    assert done.returncode == 0 or not check, done.stdout[-2000:] + done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which scripts/release calls scripts/host-packages."""
    engine.install("mmdebstrap", "debian-archive-keyring", "rpm")
    folder = tmp_path_factory.mktemp("tools")
    venv.create(folder, with_pip=True, symlinks=True)
    text = (ROOT / "scripts" / "release").read_text()
    pinned = [word for line in re.findall(r'^(?:TOOLS|PACKERS)="(.*)"$', text, re.MULTILINE) for word in line.split()]
    run(folder / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "uv", *pinned)
    return {"PATH": f"{folder}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "SOURCE_DATE_EPOCH": EPOCH}


@pytest.fixture(scope="module")
def portable(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("portable") / "python"
    run("python", "-m", "scripts.portable_python", folder, env=environ)
    return folder


@pytest.fixture(scope="module")
def wheel(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run("uv", "build", "-q", "--wheel", "-o", folder, ROOT, env=environ)
    (found,) = folder.glob("*.whl")
    return found


def make(wheel: Path, portable: Path, out: Path, environ: dict[str, str]) -> dict[str, Path]:
    out.mkdir()
    run(ROOT / "scripts/host-packages", wheel, out, env={**environ, "PORTABLE_PYTHON": str(portable)})
    return {path.name.rpartition(".")[2]: path for path in out.iterdir()}


@pytest.fixture(scope="module")
def made(
    wheel: Path, portable: Path, environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The files by the end of their names: gz, deb, rpm, json."""
    return make(wheel, portable, tmp_path_factory.mktemp("out") / "out", environ)


class Host:
    """A root of Debian 12 without a Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        packages = "--include=ca-certificates,systemd,procps"
        run("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", packages, "bookworm", folder)
        run("mount", "--bind", "/proc", folder / "proc")

    def sh(self, script: str, check: bool = True) -> str:
        done = run("chroot", self.folder, "env", "-i", f"PATH={os.defpath}:/usr/sbin", "HOME=/root", "sh", "-c", script,
                   check=check)  # fmt: skip
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def host(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host") / "root"
    booted = Host(folder)
    try:
        shutil.copy(made["deb"], folder / "tmp/it.deb")
        yield booted
    finally:
        run("umount", folder / "proc")
        shutil.rmtree(folder)


def test_its_python_runs_with_the_c_library_of_red_hat_9(
    portable: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    """The host's C library, from which every version after 2.34 is taken, stands for that library."""
    needs = run("ldd", portable / "bin/python3").stdout
    for path in (*re.findall(r"=> (/\S+/lib[cm]\.so\.6)", needs), *re.findall(r"^\s(/\S+/ld-linux\S+)", needs, re.M)):
        library = tmp_path / Path(path).name
        library.write_bytes(NEWER_THAN_RED_HAT_9.sub(b"GLIBC_9", Path(path).read_bytes()))
        library.chmod(0o755)
    (loader,) = tmp_path.glob("ld-linux*")
    done = run(loader, "--library-path", tmp_path, portable / "bin/python3.11", "-c", LIBRARIES_TRY)
    assert (done.stdout, done.stderr) == ("a 5.0\n", "")
    fetch = "import sys, pathlib; from scripts.portable_python import fetch; print(*fetch(pathlib.Path(sys.argv[1])))"
    packages = run("python", "-c", fetch, tmp_path / "fetched", env=environ).stdout.split()
    run("dpkg-deb", "-x", next(name for name in packages if "/python3.11-minimal" in name), tmp_path / "debian")
    as_it_was = run(loader, "--library-path", tmp_path, tmp_path / "debian/usr/bin/python3.11", "-c", "", check=False)
    assert as_it_was.returncode and "version `GLIBC_2.35' not found" in as_it_was.stderr


def test_the_archive_works_in_any_folder_and_only_with_its_own_packages(made: dict[str, Path], tmp_path: Path) -> None:
    with tarfile.open(made["gz"]) as archive:
        assert {(entry.uid, entry.gid, entry.mtime) for entry in archive.getmembers()} == {(0, 0, int(EPOCH))}
        archive.extractall(tmp_path / "a folder", filter="tar")
    (folder,) = (tmp_path / "a folder").iterdir()
    (tmp_path / "kubiya").symlink_to(folder / "bin/kubiya")
    for place in ("home/.local/lib/python3.11/site-packages", "other"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "click.py").write_text("raise SystemExit('not mine')\n")
    places = {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(tmp_path / "other"), "PYTHONHOME": "/nonexistent"}
    assert run(tmp_path / "kubiya", "--version", env=places).stdout.startswith("kubiya, version")
    assert run(tmp_path / "kubiya", "uninstall", env=places).stdout.endswith(f"The program itself: rm -r '{folder}'\n")
    assert not [path for path in folder.rglob("*.pyc") if path.stat().st_mtime != int(EPOCH)], "it writes nothing there"


def test_the_bill_of_materials_names_packages_of_both_kinds(made: dict[str, Path]) -> None:
    components = {one["name"]: one["purl"] for one in json.loads(made["json"].read_text())["components"]}
    assert components["temporalio"].startswith("pkg:pypi/temporalio@")
    assert components["libssl3"].startswith("pkg:deb/debian/libssl3@3.")
    assert str(ROOT) not in made["json"].read_text()


def test_the_deb_works_where_there_is_no_python_and_leaves_only_data(host: Host) -> None:
    assert host.sh("command -v python3 python", check=False) == ""
    host.sh("dpkg -i /tmp/it.deb")
    assert host.sh("kubiya --version").startswith("kubiya, version")
    told = host.sh("kubiya doctor", check=False)
    assert "/opt/kubiya-worker/bin/python3" in told and told.count("✗") == 1 and "No queue is given" in told
    assert host.sh("systemd-analyze verify /lib/systemd/system/kubiya-worker@my-queue.service") == ""
    host.sh(
        "test -r /usr/share/bash-completion/completions/kubiya && zcat /usr/share/man/man1/kubiya.1.gz | grep -q TH"
    )
    said = host.sh(DEMO)
    assert "completed" in said, said
    assert host.sh("kubiya uninstall --yes --data").endswith("The program itself: sudo apt-get purge kubiya-worker\n")
    host.sh("mkdir -p /etc/kubiya-worker/q /var/lib/private/kubiya-worker/q")
    host.sh("touch /etc/kubiya-worker/q/api-key /var/lib/private/kubiya-worker/q/data")
    host.sh("dpkg -r kubiya-worker && test -e /etc/kubiya-worker/q/api-key && dpkg -P kubiya-worker")
    left = host.sh("find / -xdev -iname '*kubiya*' -not -path '/proc/*'").split()
    assert left == ["/var/lib/private/kubiya-worker"]


def test_the_deb_replaces_no_other_kubiya_and_names_one_that_comes_first(host: Host) -> None:
    host.sh("printf '#!/bin/sh\\n' >/usr/bin/kubiya && chmod 755 /usr/bin/kubiya")
    refused = host.sh("dpkg -i /tmp/it.deb", check=False)
    assert "/usr/bin/kubiya is another program of that name" in refused and "mv /usr/bin/kubiya" in refused
    assert host.sh("cat /usr/bin/kubiya") == "#!/bin/sh\n"
    host.sh(
        "mv /usr/bin/kubiya /bin/kubiya-other && mkdir -p /usr/local/bin && mv /bin/kubiya-other /usr/local/bin/kubiya"
    )
    said = host.sh("PATH=/usr/local/bin:$PATH dpkg -i /tmp/it.deb")
    assert "`kubiya` is /usr/local/bin/kubiya here, another program of that name; this one is /usr/bin/kubiya" in said
    host.sh("dpkg -P kubiya-worker && rm /usr/local/bin/kubiya")


def test_the_deb_serves_a_booted_systemd_from_its_installation_to_its_purge(
    made: dict[str, Path], tmp_path: Path
) -> None:
    """Follow docs/install.md: a key, an address, `enable --now`; then a kill, an upgrade in mid-work, a purge."""
    unit = "kubiya-worker@default"
    with engine.engine() as address, Stack(tmp_path) as stack:
        engine.debian(address, BASE, PACKAGES)
        with Machine(address, BASE) as machine:
            machine.copy(made["deb"], "/root")
            package = f"/root/{made['deb'].name}"
            machine.run("dpkg", "-i", package, timeout=600)
            machine.sh("install -d -m 700 /etc/kubiya-worker/default")
            machine.run("bash", "-c", 'printf %s "$0" >/root/key', stack.key)
            machine.sh("install -m 600 /root/key /etc/kubiya-worker/default/api-key")
            machine.write("/etc/kubiya-worker/default/environment", f"CONTROL_PLANE_URL={stack.url}\n")
            machine.run("systemctl", "enable", "--now", unit, timeout=300)
            assert machine.show(unit, "ActiveState") == "active"
            assert stack.wait(stack.execute(SAYS_WHERE), timeout=120)["status"] == "completed"

            first = machine.show(unit, "MainPID")
            machine.run("systemctl", "kill", "-s", "KILL", unit)
            wait_until(lambda: started(machine, unit) not in ("", first), 120, "it is started again")
            second = machine.show(unit, "MainPID")
            agent = stack.agent("sleeper", skills=[{"name": "sleep", "type": "sleep"}])
            at_work = stack.execute(SLEEPS, agent=agent)
            stack.first(at_work, "tool_started")
            machine.run("dpkg", "-i", package, timeout=600)
            wait_until(lambda: started(machine, unit) not in ("", second), 120, "the upgrade has restarted it")
            row = stack.wait(at_work, timeout=120)
            assert (row["status"], row["response"]) == ("completed", "It slept.")
            calls = [each for each in stack.events(at_work) if each["event"] == "tool_started"]
            assert len(calls) == 1, "the call that was under way had its grace period"

            machine.run("dpkg", "-r", "kubiya-worker", timeout=300)
            assert machine.show(unit, "ActiveState") == "inactive"
            assert machine.sh("ls /etc/systemd/system/*.wants | grep kubiya", check=False) == ""
            machine.run("dpkg", "-P", "kubiya-worker")
            machine.sh("! test -e /etc/kubiya-worker && ! test -e /opt/kubiya-worker && test -e /var/lib/private")


def started(machine: Machine, unit: str) -> str:
    """Return the id of the unit's process once it is active."""
    return machine.show(unit, "MainPID") if machine.show(unit, "ActiveState") == "active" else ""


def test_the_rpm_is_whole_and_works_in_an_empty_root(made: dict[str, Path], tmp_path: Path) -> None:
    package, root = made["rpm"], tmp_path / "root"
    assert "digests OK" in run("rpm", "-K", package).stdout
    names = run("rpm", "-qpl", package).stdout.splitlines()
    wanted = {"/usr/bin/kubiya", "/usr/lib/systemd/system/kubiya-worker@.service", "/opt/kubiya-worker/bin/python3.11"}
    assert wanted <= set(names)
    assert "glibc >= 2.34" in run("rpm", "-qp", "--requires", package).stdout
    run("rpm", "--root", root, "--initdb")
    run("rpm", "--root", root, "-i", "--nodeps", "--noscripts", package)
    assert run(root / "opt/kubiya-worker/bin/kubiya", "--version").stdout.startswith("kubiya, version")
    assert (root / "usr/bin/kubiya").readlink() == Path("/opt/kubiya-worker/bin/kubiya")
    run("rpm", "--root", root, "-e", "--noscripts", "kubiya-worker")
    assert not (root / "opt/kubiya-worker/bin").exists()


def test_the_same_input_gives_the_same_bytes(
    made: dict[str, Path], wheel: Path, portable: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    again = make(wheel, portable, tmp_path / "out", environ)
    assert {kind: path.name for kind, path in made.items()} == {kind: path.name for kind, path in again.items()}
    sums = [{kind: hashlib.sha256(path.read_bytes()).hexdigest() for kind, path in of.items()} for of in (made, again)]
    assert sums[0] == sums[1]
