"""The file tools stay inside their folder, whatever a path or a link says."""

import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubiya_worker.tools.files.confinement import Folder, PathRefused
from tests.unit.tools.cases import cases

ATTACKS = cases("path_traversal.txt")
BENIGN = cases("path_benign.txt")
SECRET = "the secret"
INSIDE = "inside"


def decoded(case: str, base: Path) -> str:
    text = case.encode("ascii", "backslashreplace").decode("unicode_escape") if "\\" in case else case
    if text == "name with 255":
        return "n" * 255
    return text.replace("{base}", str(base)).replace("{outside}", str(base.parent / "outside"))


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    base, outside = tmp_path / "base", tmp_path / "outside"
    (base / "sub" / "deep" / "deeper").mkdir(parents=True)
    outside.mkdir()
    (tmp_path / "base2").mkdir()
    for place in (outside, tmp_path / "base2"):
        (place / "secret.txt").write_text(SECRET)
    for name in ("sub/same.txt", "sub/deep/same.txt", "sub/deep/deeper/same.txt", ".kubiya/dev/env", "sub/.kubiya/key"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(SECRET if ".kubiya" in name else INSIDE)
    links: dict[str, str | Path] = {
        "link_to_secret": outside / "secret.txt",
        "link_to_outside": "../outside",
        "link_to_root": "/",
        "link_to_parent": "..",
        "link_to_link": "link_to_secret",
        "link_to_link_dir": "link_to_outside",
        "link_to_passwd": "/etc/passwd",
        "link_to_proc": "/proc/self",
        "sub/link_up": "../..",
        "loop": "loop",
        "loop_a": "loop_b",
        "loop_b": "loop_a",
        "link_inside": "file.txt",
        "link_inside_absolute": base / "file.txt",
        "sub/link_back": "..",
        "sub/link_back_absolute": base,
        "link_to_sub": "sub",
        "link_chain": "link_inside",
        "sub/deep/link_up_to_file": "../../file.txt",
        "link_dir_chain": "link_to_sub",
    }
    for name, target in links.items():
        (base / name).symlink_to(target)
    os.mkfifo(base / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(base)  # the address of a socket is short
        listener.bind("socket")
        os.chdir(here)
        try:
            os.mknod(base / "device", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:  # only root makes devices; a folder is refused as well
            (base / "device").mkdir()
        yield base


def read(folder: Folder, path: str) -> str:
    with folder.file(path) as handle:
        return os.read(handle, 1000).decode()


def test_the_lists_are_long_enough_and_of_one_size() -> None:
    assert len(BENIGN) >= len(ATTACKS) >= 30


@pytest.mark.parametrize("case", ATTACKS)
def test_no_path_leads_out(case: str, base: Path) -> None:
    path = decoded(case, base)
    folder = Folder(base)
    with pytest.raises(PathRefused):
        read(folder, path)
    try:
        folder.write(path, b"overwritten")
    except PathRefused:
        pass
    outside = base.parent / "outside"
    assert [(entry.name, entry.read_text()) for entry in outside.iterdir()] == [("secret.txt", SECRET)]
    assert (base.parent / "base2" / "secret.txt").read_text() == SECRET
    assert {entry.name for entry in base.parent.iterdir()} == {"base", "base2", "outside"}
    assert Path("/etc/passwd").read_text() != "overwritten"


@pytest.mark.parametrize("case", BENIGN)
def test_ordinary_paths_are_read(case: str, base: Path) -> None:
    path = decoded(case, base)
    for name in {"file.txt", *([] if "/" in path or "link" in path else [path])}:
        (base / name).write_text(INSIDE)
    (base / "sub" / ".env").write_text(INSIDE)
    assert read(Folder(base), path) == INSIDE


def test_a_link_that_is_swapped_in_between_is_never_followed(base: Path) -> None:
    """One thread exchanges a folder for a link to outside as fast as it can, another reads."""
    folder = Folder(base)
    real, fake = base / "real", base / "swap"
    fake.mkdir()
    (fake / "secret.txt").write_text(INSIDE)
    done = threading.Event()

    def exchange() -> None:
        while not done.is_set():
            fake.rename(real)
            fake.symlink_to("../outside")
            fake.unlink()
            real.rename(fake)

    thread = threading.Thread(target=exchange)
    thread.start()
    results = set()
    try:
        for _ in range(3000):
            try:
                results.add(read(folder, "swap/secret.txt"))
            except PathRefused:
                results.add("refused")
    finally:
        done.set()
        thread.join()
    assert SECRET not in results and results <= {INSIDE, "refused"}


def test_saving_replaces_at_once_and_keeps_the_mode(base: Path) -> None:
    folder = Folder(base)
    umask = os.umask(0o022)
    try:
        assert folder.write("new/folder/a.txt", b"one") == "new/folder/a.txt"
    finally:
        os.umask(umask)
    file = base / "new" / "folder" / "a.txt"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    file.chmod(0o600)
    before = file.stat().st_ino
    folder.write("new/folder/a.txt", b"two")
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"two", 0o600)
    assert file.stat().st_ino != before
    assert [entry.name for entry in file.parent.iterdir()] == ["a.txt"]


def test_saving_through_a_link_inside_writes_its_target(base: Path) -> None:
    (base / "file.txt").write_text("old")
    assert Folder(base).write("link_chain", b"new") == "file.txt"
    assert (base / "file.txt").read_text() == "new" and (base / "link_chain").is_symlink()


@pytest.mark.parametrize(
    "path", [".git/config", "sub/.git/hooks/pre-commit", ".GIT/config", "a\nb", "sub", ".", "fifo"]
)
def test_what_is_no_plain_file_is_not_saved(path: str, base: Path) -> None:
    with pytest.raises(PathRefused):
        Folder(base).write(path, b"x")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(base)
    folder.write("a/b.txt", b"old")

    def no_space(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(PathRefused, match="no space"):
        folder.write("a/b.txt", b"new")
    assert [(entry.name, entry.read_text()) for entry in (base / "a").iterdir()] == [("b.txt", "old")]


def test_the_kernels_file_systems_are_out_of_reach_of_a_base_above_them() -> None:
    for path in ("proc/self/status", "/proc/self/environ", "dev/null", "sys/kernel/hostname", "usr/../proc/meminfo"):
        with pytest.raises(PathRefused, match=r"kernel|does not exist"):
            read(Folder(Path("/")), path)


def open_files() -> Iterator[str]:
    """Yield the targets of this process's open files. Look for names: other tests' threads change the count."""
    for entry in Path("/dev/fd").iterdir():
        try:
            yield str(entry.readlink())
        except OSError:
            pass  # closed by now


def test_no_descriptor_is_left_open(base: Path) -> None:
    folder = Folder(base)
    for case in ATTACKS + BENIGN:
        try:
            read(folder, decoded(case, base))
        except PathRefused:
            pass
    assert not [target for target in open_files() if target == "/" or target.startswith((str(base.parent), "/etc"))]
