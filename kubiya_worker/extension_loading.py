"""A worker's own activities, workflows and tools: Python files of the operator, and packages with an entry point.

`KUBIYA_EXTENSIONS` names files and folders; `~/.kubiya/custom_activities.py` is loaded when it is there; so is every
module of the entry point group `kubiya_worker.extensions`. They are loaded once, when the worker starts; to reload
them, restart it. One that fails to import is named in the log, and the rest is loaded. They run in the worker's process
with all of its rights: treat them like the worker's own code. `run_program` starts a program that has fewer rights.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

GROUP: Final = "kubiya_worker.extensions"
DEFAULT: Final = "~/.kubiya/custom_activities.py"
_ABOUT_PACKAGES: Final = (".dist-info", ".egg-info")


@dataclass
class Extensions:
    """The extensions found. `faults` are lines for the log, one for each file that could not be loaded."""

    activities: list[Any] = field(default_factory=list)
    workflows: list[type] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def load(places: str, taken: Iterable[str] = ()) -> Extensions:
    """Load the extensions. `places` are files and folders, separated by commas; `taken` are the worker's own names."""
    loaded, names = Extensions(), set(taken)
    for path in _files(places, loaded.faults):
        _add(loaded, names, str(path), lambda path=path: _import(path))
    for point in _points():
        _add(loaded, names, f"{point.name} ({point.value})", lambda point=point: importlib.import_module(point.module))
    return loaded


def are_there(places: str) -> bool:
    """Return whether there is anything to load. Imports none of it."""
    return bool(_files(places, []) or _points())


@functools.cache
def _points() -> tuple[importlib.metadata.EntryPoint, ...]:
    """Return the entry points of installed packages. The library reads and sorts all groups of all packages."""
    if not any(GROUP.encode() in text for text in _entry_point_files()):
        return ()
    return tuple(importlib.metadata.entry_points(group=GROUP))


def _entry_point_files() -> Iterator[bytes]:
    for folder in sys.path:
        try:
            folders = [entry.path for entry in os.scandir(folder or ".") if entry.name.endswith(_ABOUT_PACKAGES)]
        except NotADirectoryError:
            yield GROUP.encode()  # an archive of modules, whose packages only the library can read
        except OSError:
            continue
        else:
            for path in folders:
                with contextlib.suppress(OSError):  # many have no such file
                    yield (Path(path) / "entry_points.txt").read_bytes()


def _files(places: str, faults: list[str]) -> list[Path]:
    paths = [Path(place.strip()).expanduser() for place in places.split(",") if place.strip()]
    default = Path(DEFAULT).expanduser()
    files = []
    for place in paths + ([default] if default.is_file() and default not in paths else []):
        if place.is_dir():
            files += sorted(path for path in place.glob("*.py") if not path.name.startswith("_"))
        elif place.is_file():
            files.append(place)
        else:
            faults.append(f"{place}: there is no such file or folder")
    return files


def _import(path: Path) -> ModuleType:
    """Import a file by its name, from its folder.

    Temporal's workflow sandbox imports a workflow's module again by that name, so the name must be found.
    """
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    module = importlib.import_module(path.stem)
    if Path(getattr(module, "__file__", None) or "").resolve() != path.resolve():
        raise ImportError(f"another module has the name {path.stem}; rename the file")
    return module


def _add(loaded: Extensions, names: set[str], where: str, load: Any) -> None:
    try:
        module = load()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        line = f":{frames[-1].lineno} in {Path(frames[-1].filename).name}" if frames else ""
        loaded.faults.append(f"{where}: {type(error).__name__}: {error}{line}")
        return
    loaded.modules.append(where)
    for value in list(vars(module).values()):
        for mark, registered in (
            ("__temporal_activity_definition", loaded.activities),
            ("__temporal_workflow_definition", loaded.workflows),
        ):
            definition = getattr(value, mark, None)
            if definition is None or value in registered or getattr(value, "__module__", None) != module.__name__:
                continue
            if definition.name in names:
                loaded.faults.append(f"{where}: the name {definition.name} is taken; it is left out")
                continue
            names.add(definition.name)
            registered.append(value)
