"""Make the pictures of README.md from the real thing: `.venv/bin/python -m scripts.pictures [FOLDER]`.

A local stack comes up, the sample agent works on files made for it and stops at an approval. The inbox and the run's
page are photographed in a browser, in both colour schemes. What `kubiya exec` prints meanwhile becomes an animated SVG,
in the time that it took. Needs the `dev` extra and a Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from kubiya_worker.launch.stack_folder import read_env
from scripts import demo
from tests.support.browser import PROGRAMS

ROOT: Final = Path(__file__).resolve().parents[1]
WIDTH: Final = 1440
HEIGHT: Final = 900
QUIET: Final = 1_000  # ms without a change before a picture is taken
COLUMNS: Final = 100
LINE: Final = 20  # pixels
SEEN: Final = 6.0  # seconds that the last line of the recording stays
_CONTROLS: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|[\x00-\x08\x0b-\x1f]")


def terminal(arguments: Sequence[str], environment: dict[str, str]) -> Iterator[tuple[float, str]]:
    """Run a command in a terminal. Yield each line that it prints, with the seconds since its start."""
    began = time.monotonic()
    master, slave = pty.openpty()
    process = subprocess.Popen(arguments, env=environment, stdin=slave, stdout=slave, stderr=slave, close_fds=True)
    os.close(slave)
    rest = b""
    while True:
        try:
            data = os.read(master, 4096)
        except OSError:  # Linux's way to say that nobody has the other end open
            break
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield time.monotonic() - began, _CONTROLS.sub("", line.decode("utf-8", "replace")).rstrip()
    os.close(master)
    if process.wait():
        raise demo.Failed(f"{arguments} ended with {process.returncode}")


def recording(lines: Sequence[tuple[float, str]]) -> str:
    """Return an SVG in which each line appears at its time, again and again. Pure."""
    whole = max(at for at, _ in lines) + SEEN
    shown = []
    for number, (at, text) in enumerate(lines):
        begin = round(100 * at / whole, 2)
        shown.append(
            f'<text y="{(number + 1) * LINE + 12}" x="16" class="l{number}">{escape(text[:COLUMNS])}</text>'
            f"<style>.l{number}{{animation:l{number} {whole:.1f}s infinite step-end}}"
            f"@keyframes l{number}{{0%{{opacity:0}}{begin}%{{opacity:1}}100%{{opacity:1}}}}</style>"
        )
    height = (len(lines) + 2) * LINE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 {height}" role="img" '
        'aria-label="A terminal: kubiya exec runs an agent, which asks for an approval and answers">'
        "<style>text{font:14px ui-monospace,Menlo,Consolas,monospace;fill:#e6edf3;white-space:pre}"
        "@media (prefers-reduced-motion:reduce){text{animation:none!important}}</style>"
        f'<rect width="900" height="{height}" rx="8" fill="#0d1117"/>{"".join(shown)}</svg>\n'
    )


def wrapped(at: float, text: str) -> Iterator[tuple[float, str]]:
    """Yield a line in parts that fit into the terminal of the recording. Pure."""
    for start in range(0, max(len(text), 1), COLUMNS):
        yield at, text[start : start + COLUMNS]


def photograph(url: str, key: str, fragment: str, wait_for: str, target: Path, name: str) -> None:
    """Photograph a view of the page in both colour schemes, as NAME-light.png and NAME-dark.png."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            with browser.new_context(
                viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme, reduced_motion="reduce"
            ) as context:
                page = context.new_page()
                page.goto(f"{url}/")
                page.fill("#key", key)
                page.keyboard.press("Enter")
                page.wait_for_selector("#app:not([hidden])")
                page.goto(f"{url}/{fragment}")
                page.wait_for_selector(wait_for)
                page.wait_for_timeout(QUIET)
                page.screenshot(path=str(target / f"{name}-{scheme}.png"))
        browser.close()


def kubiya(environment: dict[str, str], *arguments: str) -> Any:
    done = subprocess.run(
        demo.command(*arguments, "-o", "json"), env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def make(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="kubiya-pictures-"))
    folder = Path(tempfile.gettempdir()) / "app"  # a short name, because the pictures show it
    folder.mkdir()
    try:
        demo.make_files(folder)
        with demo.guarded_stack(home) as facts:
            environment = {**os.environ, **read_env(Path(facts["env_file"]))}
            url, key = environment["CONTROL_PLANE_URL"], environment["KUBIYA_API_KEY"]
            prompt = f"Find what fills the disk under {folder} and tell me what to do about it."
            asked = demo.command("exec", "agent", "ops", prompt, "--stream")
            lines: list[tuple[float, str]] = [
                (0.0, f'$ kubiya exec agent ops "Find what fills the disk under {folder}"')
            ]
            pause = 0.0  # seconds that the photographs took, which are no part of the recording
            execution = ""
            for at, text in terminal(asked, environment):
                lines += wrapped(at - pause, text)
                if not pause and (waiting := kubiya(environment, "approvals", "ls")):
                    began = time.monotonic()
                    execution = waiting[0]["execution_id"]
                    photograph(url, key, f"#/inbox/{waiting[0]['id']}", "#inbox-rows a", target, "inbox")
                    subprocess.run(demo.command("approvals", "approve", waiting[0]["id"]), env=environment, check=True)
                    pause = time.monotonic() - began - 1.0
            if not execution:
                raise demo.Failed("the agent asked nobody")
            photograph(url, key, f"#/executions/{execution}", ".event, article, li", target, "run")
            (target / "demo.svg").write_text(recording(lines), encoding="utf-8")
    finally:
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs" / "pictures")
    make(parser.parse_args().folder)


if __name__ == "__main__":
    main()
