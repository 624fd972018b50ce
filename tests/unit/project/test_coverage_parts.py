"""The report of ./scripts/test --coverage adds up packages and names the files below the limit, the worst first."""

from __future__ import annotations

from scripts import coverage_parts


def file(ran: int, statements: int, branches_ran: int = 0, branches: int = 0) -> dict[str, dict[str, int]]:
    summary = {"covered_lines": ran, "num_statements": statements}
    if branches:
        summary |= {"covered_branches": branches_ran, "num_branches": branches}
    return {"summary": summary}


def test_packages_are_added_up_and_low_files_are_named() -> None:
    files = {
        "one/a.py": file(10, 10),
        "one/b.py": file(7, 9, 0, 1),
        "two/c.py": file(1, 2, 1, 2),
        "two/empty.py": file(0, 0),
        "two/exact.py": file(8, 10),
    }
    assert coverage_parts.report({"files": files}).splitlines() == [
        " 85.0 %  one",
        " 71.4 %  two",
        " 79.4 %  all",
        "",
        "Files below 80 %: 2",
        " 50.0 %  two/c.py",
        " 70.0 %  one/b.py",
    ]


def test_nothing_below_the_limit_is_said() -> None:
    assert coverage_parts.report({"files": {"one/a.py": file(8, 10)}}).endswith("\nFiles below 80 %: none")
