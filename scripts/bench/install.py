"""P6: what an installation of the base distribution takes (a worker without optional providers): packages, bytes, time.

Into fresh virtual environments, with bytecode, by uv where it is and by pip where not; their download caches are
warm from the second round on. Baseline: temporalio alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.bench.report import Row, Spread, below, main
from tests.support.stack import BIN, ROOT


def measure(quick: bool) -> list[Row]:
    rounds = 1 if quick else 4
    taken: dict[str, list[tuple[float, float, float]]] = {"ours": [], "base": []}
    with tempfile.TemporaryDirectory(prefix="kubiya-bench-") as folder:
        for n in range(rounds):
            for name, what in (("base", "temporalio"), ("ours", str(ROOT))):
                taken[name].append(install(what, Path(folder) / f"{name}{n}"))
    if rounds > 1:  # the first fills the caches
        taken = {name: found[1:] for name, found in taken.items()}
    sizes, counts, seconds = ({name: Spread.of([x[at] for x in t]) for name, t in taken.items()} for at in range(3))
    base = "temporalio alone"
    return [
        Row("P6", "installed size", "MB", sizes["ours"], base, sizes["base"], "under 110 MB", below(110)),
        Row("P6", "distributions", "", counts["ours"], base, counts["base"], "under 40", below(40)),
        Row("P6", "installation, caches warm", "s", seconds["ours"], base, seconds["base"]),
    ]


def install(what: str, venv: Path) -> tuple[float, float, float]:
    """(MB, distributions, seconds) of one installation."""
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    uv = shutil.which("uv", path=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}")
    python = str(venv / "bin" / "python")
    if uv:
        make = [uv, "venv", "--quiet", "--python", sys.executable, str(venv)]
        fill = [uv, "pip", "install", "--quiet", "--python", python, "--compile-bytecode", "--link-mode=copy", what]
        index = subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True
        ).stdout.strip()
        if index:
            environment.setdefault("UV_DEFAULT_INDEX", index)
    else:
        make = [sys.executable, "-m", "venv", "--without-pip", str(venv)]
        fill = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", what]
    began = time.monotonic()
    for argv in (make, fill):
        done = subprocess.run(argv, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (argv, done.stderr)
    took = time.monotonic() - began
    site = next((venv / "lib").glob("python*/site-packages"))
    size = sum(f.stat().st_size for f in site.rglob("*") if f.is_file()) / 1e6
    return size, float(len(list(site.glob("*.dist-info")))), took


if __name__ == "__main__":
    main("install", __doc__, measure)
