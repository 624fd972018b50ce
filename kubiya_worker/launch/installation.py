"""Tell how this installation came to be, for that decides how it is removed."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

NAME: Final = "kubiya-worker"
PACKAGED: Final = Path("/opt/kubiya-worker")  # of the .deb and the .rpm
DPKG_RECORD: Final = Path("/var/lib/dpkg/info/kubiya-worker.list")
ASK_WITHIN: Final = 20.0  # seconds for rpm's database


def removal(prefix: Path = Path(sys.prefix)) -> str:
    """Return the command that removes the program itself, for a shell: paths are quoted where they need it."""
    if (prefix / "pipx_metadata.json").exists():
        return f"pipx uninstall {NAME}"
    if (prefix / "uv-receipt.toml").exists():
        return f"uv tool uninstall {NAME}"
    if prefix == PACKAGED and DPKG_RECORD.exists():
        return f"sudo apt-get purge {NAME}"
    if prefix == PACKAGED and _rpm_has_it():
        return f"sudo dnf remove {NAME}"
    if (prefix / "share" / NAME / "debian-packages").exists():  # scripts/host-packages puts it into the archive
        return shlex.join(["rm", "-r", str(prefix)])
    if _installer() == "uv":
        return shlex.join(["uv", "pip", "uninstall", "--python", sys.executable, NAME])
    return shlex.join([sys.executable, "-m", "pip", "uninstall", NAME])


def _rpm_has_it() -> bool:
    rpm = shutil.which("rpm")
    if rpm is None:
        return False
    try:
        return subprocess.run([rpm, "-q", NAME], capture_output=True, timeout=ASK_WITHIN, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _installer() -> str:
    try:
        return (metadata.distribution(NAME).read_text("INSTALLER") or "").strip()
    except metadata.PackageNotFoundError:
        return ""
