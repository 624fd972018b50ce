"""Reading du and find as GNU and BSD systems write them."""

from __future__ import annotations

from kubiya_worker.models import disk_usage
from kubiya_worker.models.demo_scene import Act
from kubiya_worker.models.disk_usage import DiskEntry


def du(output: str) -> Act:
    return Act("shell", {}, "success", output)


def test_du_lines_are_read_and_others_passed_over() -> None:
    output = "du: cannot read\n 12\t/data/a b\n8\t/data/c/\n20\t/data\n[exit code 1]\nnine\t/x\n"
    assert disk_usage.read_du(output) == [DiskEntry(20, "/data"), DiskEntry(12, "/data/a b"), DiskEntry(8, "/data/c")]


def test_listings_of_gnu_and_bsd_find() -> None:
    gnu = "  1234   3000 -rw-r--r--   1 root     root      3072000 Nov 24 02:00 /data/big\\ one\\303\\251.log\n"
    bsd = "1234567    5 -rw-r--r--    1 me   staff     2048 Nov  3  2023 /Users/me/a b.txt\n"
    folder = "  12   4 drwxr-xr-x   2 root     root      4096 Nov 24 02:00 /data/folder\n"
    assert disk_usage.read_listing(gnu + folder) == [DiskEntry(3000, "/data/big oneé.log")]
    assert disk_usage.read_listing(bsd) == [DiskEntry(2, "/Users/me/a b.txt")]


def test_without_dus_last_line_the_parts_are_added_and_it_says_partial() -> None:
    findings = disk_usage.measured("/data", [du("5\t/data/a\n7\t/data/b/c\n7\t/data/b\n")], None)
    assert findings is not None
    assert (findings.total, findings.partial) == (12, True)
    assert findings.files == (DiskEntry(7, "/data/b/c"), DiskEntry(5, "/data/a"))


def test_sizes_for_people() -> None:
    assert [disk_usage.human(kib) for kib in (0, 1023, 1536, 5 << 20, 3 << 30)] == [
        "0 KiB",
        "1023 KiB",
        "1.5 MiB",
        "5.0 GiB",
        "3.0 TiB",
    ]
    assert disk_usage.percent(1, 3) == "33 %"
    assert disk_usage.percent(1, 0) == "0 %"
