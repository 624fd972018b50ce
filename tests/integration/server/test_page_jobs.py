"""The jobs on the page at `/`, in a real browser, before a real stack."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import accessible_page, in_every_view, sign_in, wait_for_words
from tests.support.stack import Stack, wait_until

DONE = 'demo:script [{"text": "Done."}]'
YEARLY = {"trigger_type": "cron", "cron_schedule": "30 6 1 1 *", "cron_timezone": "Asia/Tokyo"}


# A busy control plane: what is chosen before it has answered must not be undone by its answer.
SLOWLY = """() => {
    const ask = window.fetch;
    const pause = () => new Promise((go) => setTimeout(go, 500));
    window.fetch = async (...given) => {
        if (!given[0].endsWith("/agents")) return ask(...given);
        await pause();
        pause().then(() => (window.answered = true));
        return ask(...given);
    };
}"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        running.worker()
        yield running


def make(stack: Stack, **fields: Any) -> dict[str, Any]:
    body = {"name": f"job {uuid.uuid4().hex[:8]}", "trigger_type": "manual", "entity_type": "agent", "entity_id": "ops"}
    made: dict[str, Any] = stack.call("POST", "/jobs", {**body, "prompt_template": DONE, **fields})
    return made


def open_job(page: Any, stack: Stack, job: dict[str, Any]) -> None:
    sign_in(page, stack, f"#/jobs/{job['id']}")
    wait_for_job(page, job["name"])


def wait_for_job(page: Any, name: str) -> None:
    page.wait_for_selector("#job:not([hidden])")
    wait_for_text(page, "job-name", name)


def wait_for_text(page: Any, where: str, text: str) -> None:
    page.wait_for_function("([id, text]) => document.getElementById(id).textContent === text", arg=[where, text])


def fact(page: Any, name: str) -> str:
    """One line of what the page says about a job; the text that stands there is awaited."""
    return str(page.locator("#job-facts dt", has_text=re.compile(f"^{name}$")).locator("+ dd").inner_text())


def test_a_job_is_made_changed_and_deleted(page: Any, stack: Stack) -> None:
    name = f"nightly {uuid.uuid4().hex[:6]}"
    sign_in(page, stack, "#/jobs")
    page.click("#new")
    page.wait_for_selector('#job-entity optgroup[label="Teams"] option', state="attached")
    page.fill("#job-title", name)
    page.select_option("#job-entity", label="ops")
    page.fill("#job-prompt", "What fills the disk?")
    page.fill("#job-cron", "0 2 * * mon-fri")
    assert page.inner_text("#job-words") == "Starts weekdays at 02:00."
    page.fill("#job-zone", "Europe/Berlin")
    page.press("#job-prompt", "Control+Enter")
    wait_for_job(page, name)
    job = stack.call("GET", f"/jobs/{name}")
    assert (job["cron_schedule"], job["cron_timezone"], job["executor_type"]) == (
        "0 2 * * mon-fri",
        "Europe/Berlin",
        "auto",
    )
    assert page.evaluate("location.hash") == f"#/jobs/{job['id']}"
    assert fact(page, "Starts").startswith("weekdays at 02:00, Europe/Berlin")
    row = f'#job-rows a[href="#/jobs/{job["id"]}"]'
    page.wait_for_selector(f"{row} >> text=/weekdays at 02:00, Europe.Berlin · next in /")
    page.wait_for_selector("#job-facts >> text=/\\d{4}.*\\(in \\d+/")  # the next run, which Temporal says

    page.evaluate(SLOWLY)
    page.click("#job-edit")
    page.wait_for_selector("#job-queue option:nth-child(2)", state="attached")
    page.wait_for_selector("#job-entity option", state="attached")
    assert page.input_value("#job-prompt") == "What fills the disk?"
    page.select_option("#job-entity", label="triage")
    page.fill("#job-cron", "*/20 * * * *")
    page.select_option("#job-queue", index=1)
    page.wait_for_function("() => window.answered")
    page.click("#job-save")
    page.wait_for_selector("#job-facts >> text='every 20 minutes, Europe/Berlin'")
    job = stack.call("GET", f"/jobs/{name}")
    assert (job["entity_type"], job["entity_name"], job["worker_queue_name"]) == ("team", "triage", "default")
    assert job["prompt_template"] == "What fills the disk?"

    page.click("#job-delete")
    page.click("#delete-close")
    page.click("#job-delete")
    assert page.inner_text("#delete-title") == f"Delete “{name}”?"
    page.click("#delete-go")
    page.wait_for_selector(row, state="detached")
    stack.call("GET", f"/jobs/{name}", status=404)
    page.wait_for_function("() => location.hash === '#/jobs'")


def test_what_the_control_plane_refuses_stands_beside_the_form(page: Any, stack: Stack) -> None:
    taken = make(stack)
    sign_in(page, stack, "#/jobs")
    page.click("#new")
    page.wait_for_selector("#job-entity option", state="attached")
    page.fill("#job-title", f"new {uuid.uuid4().hex[:6]}")
    page.fill("#job-prompt", "Look at {{host}}")
    for cron, zone, field, told in (
        ("99 * * * *", "UTC", "job-cron", "Schedule: '99' is no minute: 0 to 59"),
        ("@daily", "Europe/Berlin-ish", "job-zone", "Time zone: 'Europe/Berlin-ish' is no time zone"),
        ("@daily", "UTC", "job-prompt", "Task: A schedule brings no value for host"),
    ):
        page.fill("#job-cron", cron)
        page.fill("#job-zone", zone)
        page.click("#job-save")
        page.wait_for_function("text => document.getElementById('job-failure').textContent.includes(text)", arg=told)
        assert page.get_attribute(f"#{field}", "aria-invalid") == "true"
        assert page.evaluate("document.activeElement.id") == field
        page.wait_for_selector("#job-save:not([disabled])")
    page.fill("#job-prompt", "Look")
    page.fill("#job-title", taken["name"])
    page.click("#job-save")
    page.wait_for_function("() => document.getElementById('job-failure').textContent.includes('is taken')")
    assert page.eval_on_selector_all("#job-form [aria-invalid]", "found => found.length") == 0
    assert page.is_visible("#job-dialog")


def test_what_a_schedule_does_about_overlap_and_outages_is_chosen_and_shown(page: Any, stack: Stack) -> None:
    made = make(stack, **YEARLY)
    open_job(page, stack, made)
    assert fact(page, "While it runs") == "Start the next one beside it"
    page.wait_for_selector("#job-moments li:nth-child(5)")
    first = page.inner_text("#job-moments li:first-child")
    assert re.search(r"Jan 1, \d{4}, 06:30 GMT\+9 \(in \d+ (days|h|min|s)\)", first), (
        first
    )  # on the job's clock, in Tokyo
    page.click("#job-edit")
    page.wait_for_selector("#job-entity option", state="attached")
    page.select_option("#job-overlap", label="Leave the next one out")
    page.select_option("#job-catch-up", label="up to 1 hour late")
    page.click("#job-save")
    page.wait_for_selector("#job-facts >> text='Leave the next one out'")
    assert fact(page, "Catches up") == "what Temporal has missed, up to 1 hour late"
    job = stack.call("GET", f"/jobs/{made['id']}")
    assert (job["overlap_policy"], job["catch_up_seconds"]) == ("skip", 3600)
    # Another trigger has no overlap: what was chosen for the schedule goes with it.
    page.click("#job-edit")
    page.wait_for_selector("#job-entity option", state="attached")
    page.select_option("#job-trigger", "manual")
    page.click("#job-save")
    page.wait_for_selector("#job-facts >> text='by hand'")
    assert page.locator("#job-moments li").count() == 0
    assert stack.call("GET", f"/jobs/{made['id']}")["overlap_policy"] == "allow_all"


def test_times_that_started_nothing_say_why(page: Any, stack: Stack) -> None:
    made = make(stack, **YEARLY)
    left = {"at": "2026-11-27T01:00:00+00:00", "reason": "overlap", "text": "the execution before it was still going"}
    told = {"skipped": 1, "missed": 0, "waiting": 0, "left_out": [{**left, "execution_id": "0d9"}]}

    def answer(route: Any) -> None:  # Temporal's own firings are tested in tests/integration/jobs
        answered = route.fetch()
        route.fulfill(response=answered, json={**answered.json(), "firings": told})

    page.route(f"**/jobs/{made['id']}", answer)
    open_job(page, stack, made)
    assert fact(page, "Not started") == "1 left out: an execution was still going"
    line = page.locator("#job-moments li", has_text="the execution before it was still going")
    assert line.inner_text() == "Fri, Nov 27, 2026, 10:00 GMT+9: the execution before it was still going"
    assert line.locator("a").get_attribute("href") == "#/executions/0d9"


def test_a_job_is_run_by_hand_and_its_run_leads_back(page: Any, stack: Stack) -> None:
    job = make(stack)
    open_job(page, stack, job)
    assert page.inner_text("#no-runs") == "It has no executions yet."
    page.click("#job-run")
    page.wait_for_selector("#execution:not([hidden])")
    wait_for_text(page, "status", "completed")
    page.click(f'#facts a[href="#/jobs/{job["id"]}"]')
    wait_for_job(page, job["name"])
    page.wait_for_selector('#runs [data-status="completed"]')
    assert "by hand" in page.inner_text("#runs .row-facts")
    page.wait_for_selector(f'#job-rows a[href="#/jobs/{job["id"]}"] [data-status="completed"]')
    execution = stack.call("GET", f"/jobs/{job['id']}/executions")[0]["execution_id"]
    page.click(f'#runs a[href="#/executions/{execution}"]')
    page.wait_for_selector("#execution:not([hidden])")
    assert page.is_hidden("#job")


def test_who_has_gone_elsewhere_is_told_what_came_of_it_and_stays_there(page: Any, stack: Stack) -> None:
    job = make(stack)
    held: list[Any] = []
    page.route("**/trigger", lambda route: held.append(route))
    open_job(page, stack, job)
    page.click("#job-run")
    page.wait_for_selector("#job-run[disabled]")
    page.goto(f"{stack.url}/#/inbox")
    page.wait_for_selector("#list-inbox:not([hidden])")
    wait_until(lambda: page.evaluate("1") and held, 60, "the press is on its way")
    held[0].continue_()
    page.wait_for_selector("#late:not([hidden])")
    assert page.inner_text("#late-text") == f"The job “{job['name']}” was started."
    assert page.evaluate("location.hash") == "#/inbox"
    page.click("#late-link")
    page.wait_for_selector("#execution:not([hidden])")
    assert page.is_hidden("#late")


def test_a_run_that_asks_a_person_says_so_as_the_executions_do(page: Any, stack: Stack) -> None:
    save = {"tools": [{"name": "save_file", "arguments": {"path": "a.txt", "content": "a"}}]}
    made = make(stack, prompt_template="demo:script " + json.dumps([save, {"text": "Done."}]))
    execution = stack.call("POST", f"/jobs/{made['id']}/trigger", {})["execution_id"]
    stack.first(execution, "approval_requested")
    assert stack.call("GET", f"/jobs/{made['id']}")["last_execution_id"] == execution
    open_job(page, stack, made)
    page.wait_for_selector('#runs .status[data-status="approval"]')
    page.wait_for_selector('[aria-current="page"] .status[data-status="approval"]')
    assert set(page.locator('.status[data-status="approval"]').all_inner_texts()) == {"needs approval"}
    stack.call("POST", f"/executions/{execution}/cancel")


def test_what_a_prompt_leaves_open_is_asked_for(page: Any, stack: Stack) -> None:
    prompt = 'demo:script [{"text": "{{who.name}} and {{ other }} and {{who.name}}"}]'
    job = make(stack, prompt_template=prompt)
    open_job(page, stack, job)
    page.click("#job-run")
    assert page.locator("#run-values label").all_inner_texts() == ["who.name", "other"]
    page.keyboard.type("Ada")
    page.keyboard.press("Tab")
    page.keyboard.type("Bob")
    page.keyboard.press("Enter")
    page.wait_for_selector("#execution:not([hidden])")
    wait_for_text(page, "status", "completed")
    wait_for_words(page, ".message.assistant .body", "Ada and Bob and Ada")


def test_a_disabled_job_is_started_by_nothing(page: Any, stack: Stack) -> None:
    job = make(stack, **YEARLY)
    open_job(page, stack, job)
    page.wait_for_selector("#job-facts >> text=/\\(in \\d+ (days|h|min|s)\\)/")
    page.click("#job-switch")
    wait_for_text(page, "job-status", "disabled")
    page.wait_for_selector("#job-facts >> text='none while it is disabled'")
    assert page.is_disabled("#job-run")
    assert stack.call("GET", f"/jobs/{job['id']}")["enabled"] is False
    page.wait_for_selector(f'#job-rows a[href="#/jobs/{job["id"]}"] [data-status="disabled"]:visible')
    page.click("#job-switch")
    wait_for_text(page, "job-status", "enabled")
    page.wait_for_selector("#job-run:not([disabled])")
    page.wait_for_function("() => document.activeElement.id === 'job-switch'")


def test_the_secret_of_a_webhook_is_shown_once(page: Any, stack: Stack) -> None:
    name = f"hook {uuid.uuid4().hex[:6]}"
    sign_in(page, stack, "#/jobs")
    page.click("#new")
    page.wait_for_selector("#job-entity option", state="attached")
    page.fill("#job-title", name)
    page.fill("#job-prompt", "Look at {{issue.title}}")
    page.select_option("#job-trigger", "webhook")
    assert page.is_hidden("#job-cron")
    page.click("#job-save")
    wait_for_job(page, name)
    assert fact(page, "Webhook") == stack.call("GET", f"/jobs/{name}")["webhook_url"]
    secret = page.locator("#job-facts dt", has_text="Secret").locator("+ dd code").inner_text()
    assert len(secret) > 30
    page.reload()
    wait_for_job(page, name)
    assert secret not in page.content()


def test_another_ones_change_and_deletion_show(page: Any, stack: Stack) -> None:
    job = make(stack)
    open_job(page, stack, job)
    stack.call("PATCH", f"/jobs/{job['id']}", {"description": "Somebody wrote this"})
    page.wait_for_selector("#job-facts >> text='Somebody wrote this'")
    stack.call("DELETE", f"/jobs/{job['id']}")
    page.wait_for_selector("#nothing [role=alert]")
    assert page.inner_text("#nothing [role=alert]") == "This job was deleted"
    page.click("#nothing a")
    page.wait_for_function("() => location.hash === '#/jobs'")


def test_a_failed_run_says_why(page: Any, stack: Stack) -> None:
    steps = [{"tools": [{"name": "shell", "arguments": {"command": "date"}}]}, {"text": "never"}]
    config = {"budgets": {"max_steps": 1}}
    job = make(stack, prompt_template="demo:script " + json.dumps(steps), config=config)
    started = stack.call("POST", f"/jobs/{job['id']}/trigger", {})["execution_id"]
    assert stack.wait(started)["status"] == "failed"
    open_job(page, stack, job)
    page.wait_for_selector('#runs [data-status="failed"]')
    assert "budget" in page.inner_text("#runs .row-error")


def test_jobs_are_used_with_the_keyboard_alone(page: Any, stack: Stack) -> None:
    job = make(stack)
    sign_in(page, stack)

    def tab_to(selector: str) -> None:
        for _ in range(80):
            if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"the Tab key does not reach {selector}")

    tab_to("#tab-jobs")
    page.keyboard.press("Enter")
    row = f'#job-rows a[href="#/jobs/{job["id"]}"]'
    page.wait_for_selector(row)
    tab_to(row)
    page.keyboard.press("Enter")
    wait_for_job(page, job["name"])
    page.wait_for_function("() => document.activeElement.id === 'detail'")
    tab_to("#job-edit")
    page.keyboard.press("Enter")
    page.wait_for_selector("#job-dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#job-dialog:not([open])", state="attached")
    tab_to("#job-delete")
    page.keyboard.press("Enter")
    page.wait_for_selector("#delete[open]")
    assert page.evaluate("document.activeElement.id") == "delete-close"  # what does no harm has the focus
    tab_to("#delete-go")
    page.keyboard.press("Enter")
    page.wait_for_selector(row, state="detached")


def test_a_schedule_in_words_is_right_or_stays_cron(page: Any, stack: Stack) -> None:
    page.goto(stack.url)
    words = {
        "* * * * *": "every minute",
        "*/1 * * * *": "every minute",
        "*/15 * * * *": "every 15 minutes",
        "*/7 * * * *": "",  # :56 and then :00
        "5 * * * *": "hourly at :05",
        "@hourly": "hourly at :00",
        "30 */6 * * *": "every 6 hours from 00:30",
        "30 */5 * * *": "",
        "0 2 * * *": "daily at 02:00",
        "@DAILY": "daily at 00:00",
        "0 17,9,9 * * *": "daily at 09:00 and 17:00",
        "0 9 * * 1-5": "weekdays at 09:00",
        "0 9 * * MON-FRI": "weekdays at 09:00",
        "0 9 * * 0,6": "weekends at 09:00",
        "0 9 * * sat-sun": "weekends at 09:00",
        "0 9 * * 5-7": "Fridays, Saturdays and Sundays at 09:00",
        "0 9 * * 0-7": "daily at 09:00",
        "0 9 * * 7": "Sundays at 09:00",
        "@weekly": "Sundays at 00:00",
        "0 9 1 * *": "day 1 of each month at 09:00",
        "0 9 1,15 jan,7 *": "day 1 and 15 of January and July at 09:00",
        "@yearly": "day 1 of January at 00:00",
        "0 9 * 12 *": "daily in December at 09:00",
        "0 9 * 12 mon": "Mondays in December at 09:00",
        "*/15 9-17 * * mon-fri": "every 15 minutes from 09:00 to 17:45, weekdays",
        "* 9 * * *": "every minute from 09:00 to 09:59",
        "0 9 1 * mon": "",  # either
        "0 9 */2 * *": "",
        "0 9 * * fri-mon": "",
        "1,2 9 * * *": "",
        "0 24 * * *": "",
        "0 9 0 * *": "",
        "0 9 * * 8": "",
        "0 9 * *": "",
        "often": "",
        "": "",
    }
    told = page.evaluate(
        "async crons => { const { words } = await import('/static/schedule.js'); return crons.map(words); }",
        list(words),
    )
    assert dict(zip(words, told, strict=True)) == words


@in_every_view
def test_jobs_are_readable_for_everybody(browser: Any, stack: Stack, scheme: str, width: int) -> None:
    """axe-core finds nothing (labels, roles, contrast …), and nothing is wider than the screen."""
    long = make(stack, name=f"{'Averylongname' * 9} {uuid.uuid4().hex}", description="about " * 60, **YEARLY)
    make(stack, enabled=False)
    hook = make(stack, trigger_type="webhook", prompt_template="Look at {{issue.title}} " + "x" * 300)
    started = stack.call("POST", f"/jobs/{long['id']}/trigger", {})["execution_id"]
    assert stack.wait(started)["status"] == "completed"
    with accessible_page(browser, width, scheme) as (page, check):
        sign_in(page, stack, "#/jobs")
        page.wait_for_selector("#job-rows li")
        check("the list")
        page.goto(f"{stack.url}/#/jobs/{long['id']}")
        wait_for_job(page, long["name"])
        page.wait_for_selector("#runs li")
        check("a job")
        page.click("#job-edit")
        page.wait_for_selector("#job-entity option", state="attached")
        page.fill("#job-cron", "99 * * * *")
        page.click("#job-save")
        page.wait_for_selector("#job-cron[aria-invalid]")
        check("the form")
        page.click("#job-close")
        page.click("#job-delete")
        page.wait_for_selector("#delete[open]")
        check("the question")
        page.click("#delete-close")
        page.goto(f"{stack.url}/#/jobs/{hook['id']}")
        wait_for_job(page, hook["name"])
        page.click("#job-run")
        page.wait_for_selector("#run[open]")
        check("the values")
