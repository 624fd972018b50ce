"""Build the documentation as a site with search: `scripts/site [FOLDER]`, default build/site.

The pages stay plain Markdown that the forge shows. What the site needs beside them is made here: the navigation, from
the tables of docs/README.md, and a copy in which links to files that are no pages are plain text.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parents[1]
PROJECT = ("examples/README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")  # pages that are not in docs/
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])+)\]\(([^()\s]+)\)")
SECTION = re.compile(r"^\| to ([a-z ]+) \| \|\n\|---\|---\|\n((?:\|.*\n)+)", re.MULTILINE)
ROW = re.compile(r"^\| \[(.+?)\]\((\S+?\.md)\)", re.MULTILINE)

Nav: TypeAlias = list[tuple[str, list[tuple[str, str]]]]


def pages() -> list[str]:
    """Return the pages of the site, as paths from the root folder of the project."""
    docs = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
    return ["README.md", *PROJECT, *docs]


def navigation() -> Nav:
    """Return each section's title with its pages as (title, path), in the order of docs/README.md."""
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    nav = [
        (title.capitalize(), [(name, f"docs/{path}") for name, path in ROW.findall(rows)])
        for title, rows in SECTION.findall(index)
    ]
    decisions = [(_title(path), path) for path in pages() if path.startswith("docs/decisions/")]
    project = [(_title(path), path) for path in PROJECT]
    return [*nav, ("Decisions", decisions), ("Project", project)]


def staged(text: str, page: str) -> str:
    """Return the page's text with links only to pages and pictures of the site, and to the web."""
    folder = (ROOT / page).parent

    def shown(match: re.Match[str]) -> str:
        label, target = match.groups()
        path = target.partition("#")[0]
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        found = Path(os.path.normpath(folder / path)).relative_to(ROOT)
        if (found.suffix != ".md" and found.parts[0] != "docs") or (ROOT / found).is_dir():
            return label
        return match[0]

    return LINK.sub(shown, text)


def configuration(nav: Nav) -> str:
    """Return the text of zensical.toml."""
    lines = [
        "[project]",
        'site_name = "Kubiya Worker"',
        'site_description = "AI agents as durable Temporal workflows on your own hosts"',
        'docs_dir = "pages"',
        'site_dir = "site"',
        "use_directory_urls = false",  # so that it can be read from a folder, without a web server
        "nav = [",
        '  {"Kubiya Worker" = "README.md"},',
        '  {"All pages" = "docs/README.md"},',
    ]
    for title, entries in nav:
        lines.append(f"  {{{_quoted(title)} = [")
        lines += [f"    {{{_quoted(name)} = {_quoted(path)}}}," for name, path in entries]
        lines.append("  ]},")
    lines += ["]", "[project.theme]", "font = false", 'features = ["navigation.indexes", "search.highlight"]']
    lines += ["[[project.theme.palette]]", 'media = "(prefers-color-scheme)"']
    return "\n".join(lines) + "\n"


def stage(folder: Path) -> None:
    """Write what the site generator reads into the folder."""
    for page in pages():
        target = folder / "pages" / page
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(staged((ROOT / page).read_text("utf-8"), page), "utf-8")
    for picture in (ROOT / "docs").rglob("*.svg"):
        target = folder / "pages" / picture.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, target)
    (folder / "zensical.toml").write_text(configuration(navigation()), "utf-8")


def build(output: Path) -> int:
    """Build the site into the folder, which is replaced. Return the exit code of the generator."""
    with tempfile.TemporaryDirectory() as work:
        stage(Path(work))
        generator = Path(sys.executable).with_name("zensical")
        code = subprocess.run([generator, "build", "--strict", "--clean"], cwd=work, check=False).returncode
        if code == 0:
            shutil.rmtree(output, ignore_errors=True)
            output.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(Path(work) / "site", output)
    return code


def _title(page: str) -> str:
    return next(_headings((ROOT / page).read_text("utf-8")))


def _headings(text: str) -> Iterator[str]:
    yield from (line.lstrip("# ") for line in text.splitlines() if line.startswith("# "))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "site").resolve()))
