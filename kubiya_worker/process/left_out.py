"""Leaving out a package that a library would import if it is installed, where nothing needs what comes with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast


@contextmanager
def left_out(package: str) -> Iterator[None]:
    """Have imports of the package fail meanwhile, as if it were not installed. One that is loaded already stays."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = cast(ModuleType, None)  # an import of it fails
    try:
        yield
    finally:
        del sys.modules[package]  # something else may want it
