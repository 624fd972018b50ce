"""Add Debian's packages to a CycloneDX file: python scripts/bill_of_materials.py FILE LIST.

LIST has a line for each package, `name version_architecture`, as scripts/portable_python.py writes it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote


def component(line: str) -> dict[str, Any]:
    name, _, rest = line.partition(" ")
    version, _, architecture = rest.rpartition("_")
    purl = f"pkg:deb/debian/{name}@{quote(version, safe='')}?arch={architecture}&distro=bookworm"
    return {"bom-ref": purl, "name": name, "purl": purl, "type": "library", "version": version}


def main() -> None:
    bom, listed = map(Path, sys.argv[1:])
    told = json.loads(bom.read_text(encoding="utf-8"))
    if listed.exists():  # not for another Python than Debian's
        told["components"] += [component(line) for line in listed.read_text(encoding="utf-8").splitlines()]
    bom.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
