"""Make a Python that runs from any folder, on hosts whose own Python is too old.

python scripts/portable_python.py FOLDER

It is Debian 12's Python 3.11 with the libraries that it needs, so Debian's security team keeps it, and nothing is
compiled: apt fetches the newest packages, for which it needs `debian-archive-keyring`, and no rights. Each file then
finds its libraries beside itself. The host needs a glibc of GLIBC or newer. FOLDER/share/doc has the packages'
licences, and FOLDER/share/kubiya-worker/debian-packages their versions.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection, GNUVerSymSection

RELEASE: Final = "bookworm"
VERSION: Final = "3.11"
GLIBC: Final = (2, 34)  # of RHEL 9; Ubuntu 22.04 has 2.35
# Of Debian's archive, each with the variable that names a mirror where this host's apt has none.
SUITES: Final = {RELEASE: "DEBIAN_MIRROR", f"{RELEASE}-security": "DEBIAN_SECURITY_MIRROR"}
KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
PYTHON: Final = tuple(
    f"{name}{VERSION}-{part}"
    for name, part in (("python", "minimal"), ("libpython", "minimal"), ("libpython", "stdlib"))
)
# The packages whose libraries Python's modules load. The C library itself, and what is beside it, is the host's.
LIBRARIES: Final = (
    "libbz2-1.0",
    "libexpat1",
    "libffi8",
    "libbsd0",
    "libmd0",
    "liblzma5",
    "libsqlite3-0",
    "libssl3",
    "libuuid1",
    "zlib1g",
)
# Modules that need more libraries, what is for tests of Python itself, and what is for Debian's own folders.
LEFT_OUT: Final = (
    *(f"{name}.cpython-*" for name in ("_crypt", "_curses", "_curses_panel", "_dbm", "nis", "ossaudiodev", "readline")),
    *("_test*.cpython-*", "xx*.cpython-*", "_xxtest*.cpython-*", "test", "pydoc_data", "__pycache__"),
    *("EXTERNALLY-MANAGED", "sitecustomize.py"),
)
# Functions that may come from elsewhere than a new C library: another library that has it, or "" for the C library's
# own older version. (`hypot` of 2.35 differs from 2.2.5 in how it rounds.)
LOWERED: Final[Mapping[str, str]] = {"hypot": "", "arc4random_buf": "libbsd.so.0"}


class Needed(NamedTuple):
    """A version of a function in a library, as a file asks for it, and where that stands in the file."""

    version: tuple[int, ...]
    name: str
    number: int  # by which symbols name it
    need_at: int  # Elfxx_Verneed
    entry_at: int  # Elfxx_Vernaux
    before_at: int  # the Vernaux before it; 0 for the first


def make(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        for package in fetch(Path(scratch)):
            subprocess.run(["dpkg-deb", "--extract", package, root], check=True)
        _copy(root, folder)
        told = [package.stem.replace("_", " ", 1).replace("%3a", ":") for package in fetch(Path(scratch))]
        (folder / "share/kubiya-worker/debian-packages").write_text("".join(f"{line}\n" for line in sorted(told)))
    for path in elf_files(folder):
        beside = os.path.relpath(folder / "lib", path.parent)
        rpath = "$ORIGIN" if beside == "." else f"$ORIGIN/{beside}"
        subprocess.run(["patchelf", "--set-rpath", rpath, path], check=True)
        _lower(path)
    refuse_newer(folder)


def fetch(scratch: Path) -> list[Path]:
    """Download the packages with an apt of their own, which knows nothing of this host but its architecture."""
    packages = scratch / "packages"
    if not packages.exists():
        for name in ("packages", "state/lists/partial", "cache/archives/partial", "etc/preferences.d"):
            (scratch / name).mkdir(parents=True)
        (scratch / "state/status").touch()
        lines = [f"deb [signed-by={KEYRING}] {place} {suite} main" for suite, place in mirrors(os.environ).items()]
        (scratch / "etc/sources.list").write_text("\n".join(lines) + "\n")
        places = {"State": "state", "State::status": "state/status", "Cache": "cache", "Etc": "etc"}
        apt = ["apt-get", "-qq", *(f"-oDir::{name}={scratch / place}" for name, place in places.items())]
        apt += ["-oAPT::Sandbox::User="]
        subprocess.run([*apt, "update"], check=True)
        subprocess.run([*apt, "download", *PYTHON, *LIBRARIES], check=True, cwd=packages)
    return sorted(packages.glob("*.deb"))


def mirrors(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the mirror of each suite: the one that a variable names, else that of this host's own apt.

    End the program with the variable's name where neither is there, as on a host of another release.
    """
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"]
    told = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    known = {suite: place for place, _, suite in (line.partition(" ") for line in told.splitlines())}
    found: dict[str, str] = {}
    for suite, variable in SUITES.items():
        place = environ.get(variable) or known.get(suite)
        if not place:
            sys.exit(f"apt of this host has no {suite}. Set {variable} to a mirror of Debian")
        found[suite] = place
    return found


def _copy(root: Path, folder: Path) -> None:
    for place in ("bin", "lib", "share/doc", "share/kubiya-worker"):
        (folder / place).mkdir(parents=True)
    shutil.copy2(root / "usr/bin" / f"python{VERSION}", folder / "bin")
    (folder / "bin" / "python3").symlink_to(f"python{VERSION}")
    library = Path("lib", f"python{VERSION}")
    shutil.copytree(root / "usr" / library, folder / library, symlinks=True, ignore=_left_out)
    # A person's own packages for another Python of this version must not get in. A changed site.py would not keep them
    # out: at its start Python takes the one that is frozen into the program.
    (folder / "bin" / "pyvenv.cfg").write_text("include-system-site-packages = false\n", encoding="utf-8")
    for path in (*root.glob("lib/*/*.so.*"), *root.glob("usr/lib/*/*.so.*")):
        shutil.copy2(path, folder / "lib" / path.name, follow_symlinks=False)
    for package in (*PYTHON, *LIBRARIES):
        licence = root / "usr/share/doc" / package / "copyright"
        if licence.is_file():
            shutil.copyfile(licence, folder / "share/doc" / f"{package}.copyright")


def _left_out(_: str, names: list[str]) -> set[str]:
    return {name for pattern in LEFT_OUT for name in fnmatch.filter(names, pattern)}


def elf_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path


def needed(path: Path) -> list[Needed]:
    """Return the versions of the C library that a file asks for."""
    found: list[Needed] = []
    with path.open("rb") as file:
        section: Any = ELFFile(file).get_section_by_name(".gnu.version_r")
        if not isinstance(section, GNUVerNeedSection):
            return []
        need_at = section["sh_offset"]
        for need, entries in section.iter_versions():
            entry_at, before_at = need_at + need["vn_aux"], 0
            for entry in entries:
                if entry.name.startswith("GLIBC_2"):
                    version = tuple(map(int, entry.name.removeprefix("GLIBC_").split(".")))
                    found.append(Needed(version, entry.name, entry["vna_other"], need_at, entry_at, before_at))
                before_at, entry_at = entry_at, entry_at + entry["vna_next"]
            need_at += need["vn_next"]
    return found


def _lower(path: Path) -> None:
    """Let a file run where the C library lacks the newest version of a function."""
    for need in [need for need in needed(path) if need.version > GLIBC]:
        names = _symbols(path, need.number)
        if not names <= LOWERED.keys():
            sys.exit(f"{path.name} needs {need.name} for {', '.join(sorted(names))}; has somebody looked at these?")
        for name in sorted(names):
            subprocess.run(["patchelf", "--clear-symbol-version", name, path], check=True)
            if LOWERED[name]:
                subprocess.run(["patchelf", "--add-needed", LOWERED[name], path], check=True)
        _drop(path, next(each for each in needed(path) if each.name == need.name))


def _drop(path: Path, need: Needed) -> None:
    """Take a version that no symbol names any more off the list, which ld.so checks before it looks at symbols."""
    with path.open("r+b") as file:

        def change(at: int, form: str, by: int) -> int:
            file.seek(at)
            (value,) = struct.unpack(form, file.read(struct.calcsize(form)))
            file.seek(at)
            file.write(struct.pack(form, value + by))
            return int(value)

        # Elfxx_Verneed: version, cnt (2 bytes each), file, aux, next (4 bytes each).
        # Elfxx_Vernaux: hash (4), flags, other (2 each), name, next (4 each).
        left = change(need.need_at + 2, "<H", -1) - 1
        if not left:
            sys.exit(f"{path.name} wants nothing but {need.name} of a library")
        step = change(need.entry_at + 12, "<I", 0)
        if not need.before_at:
            change(need.need_at + 8, "<I", step)
        else:
            change(need.before_at + 12, "<I", step if step else -(need.entry_at - need.before_at))


def _symbols(path: Path, number: int) -> set[str]:
    """Return the functions that a file wants in a version, which it calls by a number."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        versions: Any = next(s for s in elf.iter_sections() if isinstance(s, GNUVerSymSection))
        symbols: Any = elf.get_section_by_name(".dynsym")
        pairs = zip(symbols.iter_symbols(), versions.iter_symbols(), strict=True)
        return {symbol.name for symbol, version in pairs if version["ndx"] == number}


def refuse_newer(folder: Path) -> None:
    """End when a file below the folder needs a newer C library than the packages promise."""
    wrong = [
        f"{path.relative_to(folder)} needs {need.name}"
        for path in elf_files(folder)
        for need in needed(path)
        if need.version > GLIBC
    ]
    if wrong:
        sys.exit("\n".join(wrong))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="only look which C library the files of FOLDER need")
    options = parser.parse_args()
    if options.check:
        refuse_newer(options.folder)
    else:
        make(options.folder.absolute())


if __name__ == "__main__":
    main()
