"""A real Docker engine for tests, and the worker's image, without a public registry.

Needs root and Debian's packages docker.io and debootstrap, which it installs when they are missing. The base image is
made by debootstrap once and kept in ~/.cache/kubiya-worker-tests. KUBIYA_TEST_DOCKER_HOST names an engine that is to be
used instead; the image is built there all the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.stack import ROOT, wait_until

CACHE = Path("~/.cache/kubiya-worker-tests").expanduser()
BASE = "kubiya-test-base"
IMAGE, TAG = "kubiya-worker", "test"
PYTHON = ("python3", "python3-venv", "ca-certificates")
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


def install(*packages: str) -> None:
    """Debian packages, by whoever may. Skips the test otherwise."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip(f"needs {', '.join(packages)}, and this user may not install packages")
    argv = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if subprocess.run(argv, capture_output=True, check=False).returncode:
        subprocess.run(["apt-get", "update"], capture_output=True, check=False)
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"apt-get cannot install {', '.join(packages)}: {done.stderr[-200:]}")


@contextmanager
def engine() -> Iterator[str]:
    """The address of an engine that answers."""
    given = os.environ.get("KUBIYA_TEST_DOCKER_HOST")
    if given:
        yield given
        return
    if shutil.which("dockerd", path=PATH) is None:
        install("docker.io")
    dockerd = shutil.which("dockerd", path=PATH)
    assert dockerd
    with tempfile.TemporaryDirectory(prefix="kubiya-docker-") as name:
        folder = Path(name)
        address = f"unix://{folder}/docker.sock"
        # Without iptables and bridge it leaves the host's firewall alone; containers use the host's network.
        argv = [dockerd, "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "-H", address]
        argv += ["-p", f"{folder}/pid", "--iptables=false", "--bridge=none", "--insecure-registry", "127.0.0.0/8"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, "PATH": PATH})
        try:
            wait_until(lambda: _answers(address) or process.poll() is not None, 60, "the engine answers")
            if process.poll() is not None:
                pytest.skip(f"no Docker engine can run here: {(folder / 'log').read_text()[-300:]}")
            yield address
        finally:
            try:
                _stop(process)
            finally:
                _unmount(folder)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()  # without this the folder's mounts stay busy
        process.wait()


def _unmount(folder: Path) -> None:
    """Networks leave a mount that would keep the folder busy."""
    for line in Path("/proc/mounts").read_text().splitlines():
        place = line.split()[1]
        if Path(place).is_relative_to(folder):
            subprocess.run(["umount", "-l", place], check=False)


def _answers(address: str) -> bool:
    return docker(address, "info", check=False).returncode == 0


def remove_containers(address: str) -> None:
    """Remove all containers of the engine, and their volumes."""
    if left := docker(address, "ps", "-aq").stdout.split():
        docker(address, "rm", "-fv", *left)


def docker(address: str, *arguments: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    program = shutil.which("docker", path=PATH)
    assert program, "no docker client"
    environment = {**os.environ, "DOCKER_HOST": address, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(
        [program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
        cwd=ROOT,
    )
    assert not check or done.returncode == 0, done.stderr[-2000:]
    return done


def build(
    address: str, base: str = BASE, image: str = f"{IMAGE}:{TAG}", more: Sequence[str] = (), extras: str = ""
) -> None:
    """The image, out of this tree by deploy/Dockerfile, on a Debian with `more` packages, which is cached by `base`."""
    debian(address, base, more)
    with tempfile.TemporaryDirectory() as context:  # what the classic builder would take from the ignore file
        for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, context)
        for name in ("kubiya_worker", "supervisor"):
            shutil.copytree(ROOT / name, f"{context}/{name}", ignore=shutil.ignore_patterns("__pycache__"))
        argv = ["build", "--network", "host", "-f", str(ROOT / "deploy" / "Dockerfile"), "--build-arg", f"BASE={base}"]
        argv += ["--build-arg", f"EXTRAS={extras}"]
        docker(address, *argv, "-t", image, context, timeout=500)


def debian(address: str, base: str, more: Sequence[str]) -> None:
    """Make the image `base`: a Debian with Python and `more` packages, which is cached by that name."""
    archive = CACHE / ("base.tar" if base == BASE else f"{base}.tar")
    if not archive.exists():
        _bootstrap(archive, [*PYTHON, *more])
    docker(address, "import", str(archive), base, timeout=120)


def _bootstrap(archive: Path, packages: Sequence[str]) -> None:
    if shutil.which("debootstrap", path=PATH) is None:
        install("debootstrap")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "root"
        done = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", "bookworm", str(root)],
            env={**os.environ, "PATH": PATH},
            check=False,
            capture_output=True,
            text=True,
            timeout=400,
        )
        if done.returncode:
            pytest.skip(f"debootstrap cannot make a Debian here: {(done.stderr or done.stdout).strip()[-200:]}")
        bundle = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
        if bundle.exists():  # a host behind an intercepting proxy has its CA there
            shutil.copy(bundle, root / "etc/ssl/certs/ca-certificates.crt")
        archive.parent.mkdir(parents=True, exist_ok=True)
        draft = archive.with_suffix(f".{os.getpid()}")
        subprocess.run(["tar", "-C", str(root), "--exclude=./var/cache/apt", "-cf", str(draft), "."], check=True)
        draft.replace(archive)


def compose() -> Path:
    """Docker Compose 2, which runs without an engine too. Debian has it from the release after ours on."""
    kept = CACHE / "docker-compose"
    if kept.exists():
        return kept
    if shutil.which("apt-get") is None:
        pytest.skip("needs Docker Compose 2, and there is no apt-get")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "lists" / "partial").mkdir(parents=True)
        keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
        asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
        mirrors = subprocess.run(asked, capture_output=True, text=True, timeout=60).stdout.split()
        mirror = next((uri for uri in mirrors if "security" not in uri), None)
        if mirror is None:
            pytest.skip("needs Docker Compose 2, and apt-get knows no mirror (apt-get update)")
        (folder / "list").write_text(f"deb [signed-by={keys}] {mirror} trixie main\n")
        options = [
            f"Dir::Etc::sourcelist={folder}/list",
            "Dir::Etc::sourceparts=-",
            f"Dir::State::lists={folder}/lists",
        ]
        apt = ["apt-get", *(word for option in options for word in ("-o", option))]
        for argv in ([*apt, "update"], [*apt, "download", "docker-compose"]):
            done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"Docker Compose 2 cannot be had: {done.stderr[-200:]}")
        (package,) = folder.glob("docker-compose_*.deb")
        subprocess.run(["dpkg-deb", "-x", package, folder / "out"], check=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_suffix(f".{os.getpid()}")
        shutil.copy(folder / "out/usr/libexec/docker/cli-plugins/docker-compose", draft)
        draft.replace(kept)
    return kept
