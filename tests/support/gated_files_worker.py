"""The real worker program with one hook: each listing of a folder waits until somebody writes to the pipe GATE."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kubiya_worker.tools.files.skill import ListFiles


def install() -> None:
    original = ListFiles.work

    def work(self: ListFiles, *args: Any, **kwargs: Any) -> Any:
        Path(os.environ["GATE"]).open().close()  # it opens once the pipe has a writer
        return original(self, *args, **kwargs)

    ListFiles.work = work  # type: ignore[method-assign]


if __name__ == "__main__":
    from kubiya_worker.process.main import main

    install()
    main()
