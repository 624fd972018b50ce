"""The real worker program with one hook: each listing of a folder waits until the file GATE is there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from kubiya_worker.tools.files.skill import ListFiles


def install() -> None:
    original = ListFiles.work

    def work(self: ListFiles, *args: Any, **kwargs: Any) -> Any:
        while not Path(os.environ["GATE"]).exists():
            time.sleep(0.05)
        return original(self, *args, **kwargs)

    ListFiles.work = work  # type: ignore[method-assign]


if __name__ == "__main__":
    from kubiya_worker.process.main import main

    install()
    main()
