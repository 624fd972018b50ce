"""The doctor's check of systemd's units: whether they leave long commands alone that are to outlive them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kubiya_worker.doctor.check import PASS, WARN, Finding
from kubiya_worker.launch import service, systemd_unit

TEMPLATES: Final = tuple(
    Path(folder) / f"{service.PREFIX}@.service"
    for folder in ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
)
LEAVING: Final = ("process", "none")  # kinds of KillMode= that end the worker alone
_MODE: Final = re.compile(r"^\s*KillMode\s*=\s*(\S+)", re.MULTILINE)
_KEEPS: Final = re.compile(r"\bKUBIYA_KEEP_LONG_COMMANDS=[\"']?(?:true|1|yes|on)\b", re.IGNORECASE)


def texts(queue: str) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of each unit of this queue, with what people have changed of it."""
    name = service.name_of(queue, 1)
    for system in (True, False):
        folder = systemd_unit.unit_file(name, system=system).parent
        for unit in (folder / f"{name}.service", *sorted(folder.glob(f"{name}@*.service"))):
            if unit.is_file():
                yield unit.name, _text(unit, *_drop_ins(unit))
    template = next((each for each in TEMPLATES if each.is_file()), None)
    settings = Path("/etc/kubiya-worker") / queue / "environment"
    if template is not None and settings.is_file():
        instance = Path("/etc/systemd/system") / f"{service.PREFIX}@{queue}.service"
        yield instance.name, _text(template, *_drop_ins(template), *_drop_ins(instance), settings)


def long_commands(wanted: bool, units: Iterator[tuple[str, str]]) -> Finding:
    """Check that a unit whose long commands are to go on does not end them. `wanted`: what the settings here say."""
    ending, keeping = [], wanted
    for name, text in units:
        keeps = wanted or bool(_KEEPS.search(text))
        keeping = keeping or keeps
        modes = _MODE.findall(text) or ["control-group"]
        if keeps and modes[-1] not in LEAVING:
            ending.append(f"{name} (KillMode={modes[-1]})")
    if ending:
        return Finding(
            WARN,
            f"KUBIYA_KEEP_LONG_COMMANDS is set, and systemd ends long commands with the unit: {', '.join(ending)}",
            f"systemctl edit {ending[0].partition(' ')[0]}, [Service] KillMode=process; or install-service anew",
        )
    if keeping:
        return Finding(PASS, "they go on when the worker is stopped")
    return Finding(PASS, "they end when the worker is stopped; with KUBIYA_KEEP_LONG_COMMANDS=true they go on")


def _drop_ins(unit: Path) -> list[Path]:
    return sorted(unit.with_name(f"{unit.name}.d").glob("*.conf"))


def _text(*files: Path) -> str:
    """Return the text of files, one after the other; what this user may not read is left out."""
    parts = []
    for path in files:
        try:
            parts.append(path.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
    return "\n".join(parts)
