"""Install the worker into a virtual environment of its own, in which a test may replace packages as `pip` does."""

from __future__ import annotations

import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.stack import ROOT

REPLACED = ("httpx2", "genai_prices", "anyio", "mcp", "requests", "urllib3", "structlog", "yaml", "temporalio")


class Installed:
    """A virtual environment with the worker in it; what is not replaced comes from this one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rounds = folder, 0
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        self.python = folder / "venv" / "bin" / "python"
        (self.packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (self._others,) = {Path(path) for path in site.getsitepackages()}
        (self.packages / "others.pth").write_text(f"{self._others}\n")
        for name in REPLACED:
            shutil.copytree(self._others / name, self.packages / name)
        self.upgrade()
        where = "import kubiya_worker, temporalio; print(kubiya_worker.__file__, temporalio.__file__)"
        found = subprocess.run([self.python, "-P", "-c", where], check=True, capture_output=True, text=True).stdout
        assert all(path.startswith(str(self.packages)) for path in found.split()), found

    def upgrade(self) -> None:
        """Install the next version of the package over the one that is there."""
        self.rounds += 1
        wheel = self._wheel(f"99.{self.rounds}")
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "-q", "-U", "--no-deps", "--no-index", str(wheel)], check=True)

    def _wheel(self, version: str) -> Path:
        path, info = self.folder / f"kubiya_worker-{version}-py3-none-any.whl", f"kubiya_worker-{version}.dist-info"
        with zipfile.ZipFile(path, "w") as wheel:
            for file in sorted((ROOT / "kubiya_worker").rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts and "_supervisor" not in file.parts:
                    wheel.write(file, file.relative_to(ROOT))
            for file in sorted((ROOT / "supervisor").rglob("*.py")):
                wheel.write(file, Path("kubiya_worker", "_supervisor", file.relative_to(ROOT / "supervisor")))
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: kubiya-worker\nVersion: {version}\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
        return path

    def leave_half(self, name: str) -> None:
        """Leave a dependency as `pip` does in the middle of its work: it begins, and its modules are not there yet."""
        shutil.rmtree(self.packages / name)
        (self.packages / name).mkdir()
        shutil.copy(self._others / name / "__init__.py", self.packages / name)

    def make_whole(self, name: str) -> None:
        shutil.rmtree(self.packages / name)
        shutil.copytree(self._others / name, self.packages / name)

    def rewrite_dependencies(self) -> None:
        """Take each dependency away as a whole, then write it again."""
        for name in REPLACED:
            (self.packages / name).rename(self.folder / "away")
            shutil.copytree(self._others / name, self.packages / name)
            shutil.rmtree(self.folder / "away")
