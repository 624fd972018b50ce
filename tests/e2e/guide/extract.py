"""Finds everything that the worker guide (docs/guide.md) names: commands, flags, variables, paths, endpoints."""

from __future__ import annotations

import re
from typing import Any

from tests.support.markdown import Block, blocks

FLAG = re.compile(r"^(?:-(\w), )?(--[\w-]+)(?: (string|int))?\s{2,}.*?(?:\(default (.+)\))?$")
ROW = re.compile(r"^\| `([A-Z_]+)` \| (.+?) \| (.+?) \|$", re.MULTILINE)


def extract(guide: str) -> dict[str, Any]:
    found = blocks(guide)
    shell = [b for b in found if b.language == "bash"]
    lines = [(b, line) for b in shell for line in b.commands]
    lines += [(b, line) for b in found if b.language == "yaml" for line in b.commands if line.startswith("kubiya ")]
    rows = ROW.findall(guide)
    return {
        "commands": _unique({"section": b.section, "command": line} for b, line in lines if not line.startswith("-")),
        "flags": _flags(shell),
        "variables": _variables(guide, rows),
        "paths": sorted(set(re.findall(r"(?:~/\.kubiya|/tmp/worker|/app)[\w./<>-]*[\w>]/?", guide))),
        "endpoints": sorted(set(re.findall(r"https://control-plane\.kubiya\.ai(/[\w/<>.-]+)", guide))),
        "metrics": re.findall(r"^- \*\*([\w ]+)\*\*: ", guide.split("### Metrics Collection")[1], re.MULTILINE)[:6],
        "yaml": [{"section": b.section, "text": b.text} for b in found if b.language == "yaml"],
        "python": [{"section": b.section, "text": b.text} for b in found if b.language == "python"],
    }


def _unique(items: Any) -> list[dict[str, str]]:
    seen: dict[str, dict[str, str]] = {}
    for item in items:
        seen.setdefault(item["command"], item)
    return list(seen.values())


def _flags(shell: list[Block]) -> list[dict[str, str | None]]:
    """The table of flags, with what else commands of `kubiya worker start` use."""
    found: dict[str, dict[str, str | None]] = {}
    for block in shell:
        for line in block.text.splitlines():
            match = FLAG.match(line.strip())
            if match and block.section == "Command-Line Flags":
                default = match[4].strip('"') if match[4] else None
                found[match[2]] = {"flag": match[2], "short": match[1], "type": match[3], "default": default}
        for line in block.commands:
            if line.startswith(("kubiya ", "--")) and block.section != "Command-Line Flags":
                for flag in re.findall(r"(?<!\S)(--[\w-]+)", line):
                    found.setdefault(flag, {"flag": flag, "short": None, "type": None, "default": None})
    return list(found.values())


def _variables(guide: str, rows: list[tuple[str, str, str]]) -> list[dict[str, str | None]]:
    optional = guide.split("#### Optional Variables")[1].split("###")[0]
    defaults = {name: value.strip("`") for name, _, value in ROW.findall(optional)}
    names = {name for name, _, _ in rows}
    names |= set(re.findall(r"^\s*export ([A-Z_]+)=", guide, re.MULTILINE))
    names |= set(re.findall(r"^\s*-e ([A-Z_]+)=", guide, re.MULTILINE))
    names |= set(re.findall(r"^\s*- ([A-Z_]+)=", guide, re.MULTILINE))
    names |= set(re.findall(r"^\s*- name: ([A-Z_]+)$", guide, re.MULTILINE))
    names |= set(re.findall(r"^echo \$([A-Z_]+)$", guide, re.MULTILINE))
    return [{"name": name, "default": defaults.get(name)} for name in sorted(names)]
