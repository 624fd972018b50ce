"""Files that a run makes are copied beside its end, shown on its page, and never a reason to wait or to fail."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import accessible_page, in_every_view, sign_in
from tests.support.demo_scripts import script, shell
from tests.support.stack import Stack, wait_until

SECRET = "the-secret-of-the-lab-4711"
SKILLS = [{"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}]


def png(width: int, height: int) -> bytes:
    """Return a picture of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\x33\x55\xd8" * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


MAKES = (
    f"mkdir -p out && echo {base64.b64encode(png(320, 180)).decode()} | base64 -d > out/chart.png",
    "printf '# Report\\n' > report.md",
    "printf 'x' > 'a\nb.txt'",
    "ln -s /etc/passwd passwd && ln -s /etc etc",
    "head -c 3000000 /dev/zero > large.bin",
    "printf 'TOKEN=%s\\n' \"$LAB\" > dump.env && printf 'harmless' > page.html",
)
ANSWER = "Here: ![the chart](out/chart.png) and ![none](out/none.png) and ![far](https://far.invalid/x.png)"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, shared_temporal: str) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), temporal=shared_temporal) as running:
        running.worker()
        running.call("PUT", "/secrets/LAB", {"value": SECRET})
        environment = {"env_vars": {"LAB": "{{.secret.LAB}}"}}
        running.agent("maker", skills=SKILLS, execution_environment=environment)
        running.call(
            "POST", "/teams", {"name": "makers", "configuration": {"member_ids": ["maker"], "llm": {"model": "demo"}}}
        )
        yield running


def makes(*commands: str) -> dict[str, Any]:
    return shell(*(f"sh -c {quoted(command)}" for command in commands))


def quoted(command: str) -> str:
    return "'" + command.replace("'", "'\"'\"'") + "'"


def files(stack: Stack, execution: str, count: int) -> dict[str, dict[str, Any]]:
    """Return the files of an execution by their paths, once there are so many: they come beside its end."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = stack.call("GET", f"/executions/{execution}/files")
        return len(found) >= count

    wait_until(there, 30, f"{count} files of {execution}")
    return {each["path"]: each for each in found}


def content(stack: Stack, execution: str, path: str) -> bytes:
    got = stack.http.get(f"{stack.url}/api/v1/executions/{execution}/files/{path}", timeout=30)
    assert got.status_code == 200, got.text
    return got.content


@pytest.fixture(scope="module")
def run(stack: Stack) -> str:
    execution = stack.execute(script(makes(*MAKES), {"text": ANSWER}), agent="maker")
    assert stack.wait(execution)["status"] == "completed"
    return execution


def test_a_runs_files_are_there_after_its_end_and_what_is_not_says_why(stack: Stack, run: str) -> None:
    found = files(stack, run, 6)
    assert {path: each["refused"] for path, each in found.items()} == {
        "a\nb.txt": "",
        "dump.env": "a secret is in it",
        "large.bin": "it is larger than 2,097,152 bytes",
        "out/chart.png": "",
        "page.html": "",
        "report.md": "",
    }
    assert content(stack, run, "out/chart.png") == png(320, 180)
    assert content(stack, run, "a%0Ab.txt") == b"x"
    stored = b"".join(path.read_bytes() for path in (stack.folder / "run-files").rglob("*") if path.is_file())
    assert SECRET.encode() not in stored and b"root:" not in stored


def test_two_runs_have_files_of_the_same_names(stack: Stack) -> None:
    one, other = (stack.execute(script(makes(f"echo {n} > same"), {"text": "ok"}), agent="maker") for n in (1, 2))
    for execution in (one, other):
        assert stack.wait(execution)["status"] == "completed"
        files(stack, execution, 1)
    assert (content(stack, one, "same"), content(stack, other, "same")) == (b"1\n", b"2\n")


def test_each_turn_brings_what_it_changed(stack: Stack) -> None:
    body: dict[str, Any] = {"execution_metadata": {"interactive": True}}
    execution = stack.execute(script(makes("echo 1 > a"), {"text": "one"}), agent="maker", **body)
    stack.wait_for_turn(execution, 1)
    assert content(stack, execution, next(iter(files(stack, execution, 1)))) == b"1\n"
    message = script(makes("echo 22 > a && echo 3 > b"), {"text": "two"})
    stack.call("POST", f"/executions/{execution}/message", {"message": message})
    stack.wait_for_turn(execution, 2)
    files(stack, execution, 2)
    wait_until(lambda: content(stack, execution, "a") == b"22\n", 30, "the changed file")
    stack.call("POST", f"/executions/{execution}/mark-done", {})


def test_a_teams_files_are_of_the_whole_team_and_a_failed_run_has_some_too(stack: Stack) -> None:
    task = script(makes("echo of the member > from-member"), {"text": "Made."})
    asks = {"tools": [{"name": "ask_maker", "arguments": {"task": task}}]}
    body = {"prompt": script(asks, {"text": "All made."}), "worker_queue_id": "default"}
    execution = stack.call("POST", "/teams/makers/execute", body)["execution_id"]
    assert stack.wait(execution)["status"] == "completed"
    files(stack, execution, 1)
    assert content(stack, execution, "from-member") == b"of the member\n"
    steps = script(makes("echo kept > a"), {"loop": makes("true")})
    stack.agent("spender", skills=SKILLS, configuration={"budgets": {"max_steps": 4}})
    failed = stack.execute(steps, agent="spender")
    stack.wait(failed)
    files(stack, failed, 1)
    assert content(stack, failed, "a") == b"kept\n"


def test_a_worker_that_may_not_copies_none_and_a_folder_of_the_host_stays_there(stack: Stack, tmp_path: Any) -> None:
    queue = stack.queue("keeping")
    stack.worker(queue, KUBIYA_RUN_FILES="false")
    execution = stack.execute(script(makes("echo 1 > a"), {"text": "ok"}), agent="maker", queue=queue)
    assert stack.wait(execution)["status"] == "completed"
    skills = [{**SKILLS[0], "configuration": {**SKILLS[0]["configuration"], "write_paths": [str(tmp_path)]}}]  # type: ignore[dict-item]
    stack.agent("local", skills=skills, configuration={"cwd": str(tmp_path)})
    local = stack.execute(script(makes("echo 1 > a"), {"text": "ok"}), agent="local")
    assert stack.wait(local)["status"] == "completed" and (tmp_path / "a").read_text() == "1\n"
    after = stack.execute(script(makes("echo 1 > a"), {"text": "ok"}), agent="maker")
    stack.wait(after)
    files(stack, after, 1)  # by now those of the others would be there, too
    for none in (execution, local):
        assert stack.call("GET", f"/executions/{none}/files") == []


def test_the_page_shows_files_and_the_pictures_that_a_run_made(page: Any, stack: Stack, run: str) -> None:
    files(stack, run, 6)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    sign_in(page, stack, f"#/executions/{run}")
    picture = page.locator("#timeline img.picture").first
    picture.wait_for()
    page.wait_for_function("() => document.querySelector('#timeline img.picture')?.naturalWidth === 320")
    assert picture.get_attribute("alt") == "the chart"
    height = picture.bounding_box()["height"]
    page.locator("#timeline", has_text="picture: far").wait_for()
    page.locator("#timeline", has_text="picture: none").wait_for()
    assert picture.bounding_box()["height"] == height
    page.click("#run-tabs a[data-tab=files]")
    rows = page.locator(".run-files tbody tr")
    rows.nth(5).wait_for()
    told = rows.all_inner_texts()
    assert any("dump.env" in row and "not stored: a secret is in it" in row for row in told), told
    assert any(row.startswith("a⏎b.txt") for row in told)
    page.wait_for_function("() => document.querySelector('.run-files img.thumb')?.naturalWidth === 320")
    with page.expect_download() as waiting:
        page.locator(".run-files a", has_text="page.html").click()
    assert waiting.value.suggested_filename == "page.html"
    assert not [url for url in asked if "far.invalid" in url], "nothing is loaded from elsewhere"


@in_every_view
def test_the_files_are_readable_for_everybody(browser: Any, stack: Stack, run: str, width: int, scheme: str) -> None:
    files(stack, run, 6)
    with accessible_page(browser, width, scheme) as (page, check):
        sign_in(page, stack, f"#/executions/{run}?tab=files")
        page.locator(".run-files tbody tr").nth(5).wait_for()
        check(f"files {width} {scheme}")
        page.goto(f"{stack.url}/#/executions/{run}")
        page.locator("#timeline img.picture").first.wait_for()
        check(f"picture {width} {scheme}")
