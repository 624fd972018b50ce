"""Every row of tests/cases/mcp/README.md through the whole real stack: what the product makes of an odd MCP server.

All cases run beside each other, once; each test then judges one of them.
"""

from __future__ import annotations

import base64
import json
import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.mcp_cases import Case, Ran, call, far, nasty, running

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # of a tool or a property, as providers take it
TRACES = ("validation error", "pydantic", "errors.pydantic.dev", "Traceback")  # no model reads these
PASSWORD = "pw-9f8e7d6c5b"
DSN = f"postgresql://admin:{PASSWORD}@db.test/x"
PLAIN_VALUES = {"K8S_NAMESPACE": "kube-system", "CLUSTER": "production", "PGDATABASE": "inventory"}
TOKEN = "tok-abcdef-123456"
PID = call("pid")

SLACK = 8.0  # seconds: three that a limit may be passed by, and what a busy machine adds

CASES: dict[str, Case] = {}
CHECKS: dict[str, Callable[..., None]] = {}

Check = Callable[..., None]


def case(name: str, servers: dict[str, Any], *steps: dict[str, Any], **more: Any) -> Callable[[Check], Check]:
    """Run these steps with these servers as the case of this name, and judge it by the function below."""

    def keep(check: Check) -> Check:
        CASES[name] = Case(name, servers, list(steps), **more)
        CHECKS[name] = check
        return check

    return keep


def one(*switches: str, **settings: Any) -> dict[str, Any]:
    return {"nasty": nasty(*switches, **settings)}


def web(path: str, **settings: Any) -> dict[str, Any]:
    return {"far": far(path, **settings)}


def ask(*tools: str | tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return call(*tools, server="far")


def usual(rans: dict[str, Ran]) -> float:
    """Return the seconds until a model is asked whose servers start at once, on this machine as it is now."""
    return statistics.median(ran.asked_after for ran in rans.values())


def usual_end(rans: dict[str, Ran]) -> float:
    """Return the seconds until the end of a run with usual servers, on this machine as it is now."""
    return statistics.median(ran.ended_after for ran in rans.values())


# -- messages that are hardly ones

FORMS = ("glued", "pretty", "batch", "pair", "bare", "float", "headed", "unended", "wrapped", "printed", "unnumbered")


@case(
    "forms",
    {form: nasty(f"wire={form}") for form in FORMS},
    {"tools": [{"name": f"mcp__{form}__echo", "arguments": {"s": form}} for form in FORMS]},
)
def messages_in_every_form(ran: Ran) -> None:
    assert sorted(ran.results) == sorted(json.dumps({"s": form}) for form in FORMS)


WEB_FORMS = ("text", "batch", "bom", "number", "events", "event-batch")


@case(
    "web-forms",
    {form: far(f"/form={form}") for form in (*WEB_FORMS, "page")},
    {"tools": [{"name": f"mcp__{form}__echo", "arguments": {"s": form}} for form in WEB_FORMS]},
)
def answers_in_every_form(ran: Ran) -> None:
    assert sorted(ran.results) == sorted(f"echo {json.dumps({'s': form})}" for form in WEB_FORMS)
    assert "'page'" in ran.notices and "Sign in" in ran.notices and "url" in ran.notices


@case(
    "lists",
    {
        "empty": nasty("empty-page"),
        "bad": nasty("bad-page"),
        "none": nasty("no-list"),
        "new": nasty("version=2099-01-01"),
        "old": nasty("version="),
        "gone": nasty("told-start"),
    },
    {"tools": [{"name": f"mcp__{name}__echo", "arguments": {"s": name}} for name in ("empty", "bad", "old")]},
)
def lists_and_versions(ran: Ran) -> None:
    assert sorted(ran.results) == sorted(json.dumps({"s": name}) for name in ("empty", "bad", "old"))
    for words in ("the cursor has expired", "no list of tools", "2099-01-01", "Update the server", "no such package"):
        assert words in ran.notices


# -- sessions over stdio


@case("closed-words", one("closed-words"), PID, call("comment"), PID)
def closed_words(ran: Ran) -> None:
    assert "cannot comment: ticket 4711 is closed" in ran.results[1]
    assert ran.results[0] == ran.results[2]


@case("four", one(), PID, times=4)
def after_four(ran: Ran) -> None:
    assert ran.row["status"] == "completed" and len(ran.alive) <= 1


@case("four-cancelled", one(), PID, {"first_delay": 100}, cancel=1, times=4)
def after_cancelling(ran: Ran) -> None:
    assert ran.row["status"] == "cancelled" and len(ran.alive) <= 1


@case("four-failed", one(), PID, {"status": 400, "body": {"error": {"message": "no"}}}, times=4)
def after_failing(ran: Ran) -> None:
    assert ran.row["status"] == "failed" and len(ran.alive) <= 1


@case("latin1", one("latin1"), call("cafe"), call(("echo", {"s": "on"})))
def latin1(ran: Ran) -> None:
    assert "caf\N{REPLACEMENT CHARACTER} is open" in ran.results[0]
    assert "on" in ran.results[1] and ran.outcomes() == ["success", "success"]


@case("hang-start", one("hang-start", timeout=4), {"text": "no tools"})
def hang_start(ran: Ran, rans: dict[str, Ran]) -> None:
    assert ran.asked_after < usual(rans) + 4 + SLACK and ran.row["status"] == "completed"
    assert "nasty" in ran.notices
    assert not ran.alive


@case("slow-start", one("slow-start=35", timeout=90), call(("echo", {"s": "at last"})))
def slow_start(ran: Ran, rans: dict[str, Ran]) -> None:
    assert "at last" in ran.results[0] and ran.outcomes() == ["success"]
    assert ran.ended_after < usual_end(rans) + 35 + 2 * SLACK  # once it has started, not after the whole `timeout`


@case("slow-start-default", one("slow-start=25"), call(("echo", {"s": "at last"})))
def slow_start_without_timeout(ran: Ran) -> None:
    assert "at last" in ran.results[0] and ran.outcomes() == ["success"]


@case(
    "slow-start-beside",
    {"slow": nasty("slow-start=24", timeout=40), "nasty": nasty()},
    call(("echo", {"s": "at once"})),
    {"first_delay": 20, **PID},
    call(("echo", {"s": "later"}), server="slow"),
)
def slow_start_beside_another(ran: Ran) -> None:
    assert "mcp__slow__echo" not in ran.offered(0) and "mcp__slow__echo" in ran.offered(2)
    assert "at once" in ran.results[0] and "later" in ran.results[2]


@case("no-command", {"tracker": {"command": "/nonexistent/tracker-server"}, "nasty": nasty()}, PID)
def command_not_there(ran: Ran) -> None:
    assert "tracker" in ran.notices and "/nonexistent/tracker-server" in ran.notices
    told = json.dumps(ran.row["execution_metadata"])  # later: the row says it still
    assert "tracker" in told and "/nonexistent/tracker-server" in told
    systems = [m["content"] for m in ran.requests[0]["messages"] if m["role"] == "system"]
    assert sum(str(text).count("tracker") for text in systems) >= 1, "the model is told"
    assert "pid=" in ran.results[0]


@case("progress", one("progress=7", call_timeout=4), call("work"))
def progress(ran: Ran) -> None:
    assert "work done, token given" in ran.results[0] and ran.outcomes() == ["success"]
    assert len(ran.calls()) == 1, "the limit was renewed: the call was not made again"
    assert len(set(re.findall("step . of 7", ran.notices))) >= 3, "a person sees how far it is"


@case("env-booleans", one(env={"A": True, "B": False, "C": 1, "D": 1.5}), call("env"))
def env_booleans(ran: Ran) -> None:
    seen = json.loads(ran.results[0])
    assert (seen["A"], seen["B"], seen["C"], seen["D"]) == ("true", "false", "1", "1.5")


@case("list-changed", one("list-changed"), call("grow"), call("grown_tool"))
def list_changed(ran: Ran) -> None:
    assert "mcp__nasty__grown_tool" not in ran.offered(0) and "mcp__nasty__grown_tool" in ran.offered(1)
    assert "the new tool answers" in ran.results[1]


LATE = ["mcp__slow__echo", "mcp__nasty__grown_tool"]
DENIED = {"configuration": {"taint": "off", "disallowed_tools": LATE}}


@case("list-changed-denied", one("list-changed"), call("grow"), call("grown_tool"), settings=DENIED)
def list_changed_with_a_tool_that_is_not_permitted(ran: Ran) -> None:
    assert "mcp__nasty__grow" in ran.offered(1) and "mcp__nasty__grown_tool" not in ran.offered(1)
    assert "grown_tool" not in [name for name, _ in ran.calls()]


@case(
    "slow-start-denied",
    {"slow": nasty("slow-start=24", timeout=40), "nasty": nasty()},
    {"first_delay": 22, **PID},
    {"first_delay": 5, **PID},
    settings=DENIED,
)
def slow_start_with_a_tool_that_is_not_permitted(ran: Ran) -> None:
    assert "mcp__slow__pid" in ran.offered(2) and "mcp__slow__echo" not in ran.offered(2)


# -- sessions over HTTP


@case("plain", web("/plain", shared=True), ask(("slow", {"seconds": 1})), ask("session", "comment"), ask("session"))
def plain(ran: Ran, rans: dict[str, Ran]) -> None:
    assert "ticket 4711 is closed" in "".join(ran.results)
    assert "slow is done" in rans["plain-beside"].results[0], "the other execution's call goes on"
    sessions = {result[:16] for result in ran.results if result.startswith("session=")}
    assert len(sessions) == 1, "the session lives on"


@case("plain-beside", web("/plain", shared=True), ask(("slow", {"seconds": 8})), ask("session"))
def plain_beside(ran: Ran, rans: dict[str, Ran]) -> None:
    assert ran.outcomes() == ["success", "success"]
    assert ran.results[1][:16] in "".join(rans["plain"].results), "the session is shared"


def reopened(ran: Ran) -> None:
    assert ran.outcomes() == ["success", "success"], ran
    assert ran.results[0] != ran.results[1] and ran.results[1].endswith("calls=1"), ran


for code in (404, 400):
    path = f"/restart-{code}"
    case(f"restart-{code}", web(path), ask("session"), ask("session"), forget=(path, 1))(reopened)


REASONS = {
    401: "The access token expired",
    403: "The address 10.1.2.3 may not write",
    429: "Quota of 60 calls a minute is used up",
    503: "Maintenance until 18:00 UTC",
}
for code in REASONS:
    CASES[f"status={code}"] = Case(
        f"status={code}", web(f"/status={code}"), [ask("session"), ask("fail"), ask("session")]
    )


@case("expired", web("/expired"), {"text": "no tools"})
def expired(ran: Ran) -> None:
    for told in (ran.notices, json.dumps(ran.row["execution_metadata"])):
        assert "far" in told and "401" in told and "The access token expired" in told
    system = str(ran.requests[0]["messages"][0])
    assert "far" in system, "the model is told"


@case("start-503", web("/start-503=2"), ask(("echo", {"s": "up"})))
def start_503(ran: Ran, rans: dict[str, Ran]) -> None:
    assert "up" in ran.results[0] and ran.asked_after < usual(rans) + 3 + SLACK


@case("http-slow-start", web("/slow-start=6", timeout=12), ask(("echo", {"s": "up"})))
def http_slow_start(ran: Ran, rans: dict[str, Ran]) -> None:
    assert "up" in ran.results[0] and ran.ended_after < usual_end(rans) + 6 + SLACK


@case("http-slow-start-30", web("/slow-start=30", timeout=3), {"text": "no tools"})
def http_too_slow(ran: Ran, rans: dict[str, Ran]) -> None:
    assert ran.asked_after < usual(rans) + 3 + SLACK and "far" in ran.notices and ran.row["status"] == "completed"


@case("close-hangs", web("/close-hangs"), ask("session"))
def close_hangs(ran: Ran, rans: dict[str, Ran]) -> None:
    assert ran.row["status"] == "completed" and ran.ended_after < usual_end(rans) + 2 * SLACK


CASES["close-hangs-open"] = Case(
    "close-hangs-open",
    web("/close-hangs"),
    [ask("session")],
    body={"execution_metadata": {"interactive": True}},
)


# -- what servers say of their tools


@case("big-list", {"big": nasty("big-list"), "nasty": nasty()}, call(("echo", {"s": "here"})))
def big_list(ran: Ran) -> None:
    assert ran.row["status"] == "completed" and "here" in ran.results[0]
    assert "big" in ran.notices or any(name.startswith("mcp__big__large") for name in ran.offered())


def schema_of(ran: Ran, tool: str) -> dict[str, Any]:
    return ran.offered()[f"mcp__nasty__{tool}"]


@case("top-anyof", one("top-anyof"), call(("either", {"a": "x"})))
def top_anyof(ran: Ran) -> None:
    schema = schema_of(ran, "either")
    assert schema["type"] == "object" and not {"anyOf", "oneOf", "allOf", "not", "enum"} & set(schema)
    assert ran.calls() == [("either", {"a": "x"})]


@case("array-no-items", one("array-no-items"), call(("tagged", {"tags": ["x", "y"]})))
def array_without_items(ran: Ran) -> None:
    assert "items" in schema_of(ran, "tagged")["properties"]["tags"]
    assert ran.calls() == [("tagged", {"tags": ["x", "y"]})]


@case("odd-names", one("odd-names"), call(("query", {"_filter": "a", "full_name": "b", "x_y": "c"})))
def odd_names(ran: Ran) -> None:
    schema = schema_of(ran, "query")
    assert all(NAME.fullmatch(name) for name in schema["properties"])
    assert set(schema["required"]) <= set(schema["properties"])
    assert ran.calls() == [("query", {"$filter": "a", "full name": "b", "x/y": "c"})]


@case("many-tools", one("many-tools=150"), call(("echo", {"s": "x"})))
def many_tools(ran: Ran) -> None:
    assert all(len(ran.offered(at)) <= 128 for at in range(len(ran.requests)))
    assert re.search(r"\b2[6-9]\b|\b3\d\b", ran.notices), "a person is told how many are left out"


@case("bad-tool", one("bad-tool"), call(("echo", {"s": "x"})))
def bad_tool(ran: Ran) -> None:
    assert "no_schema" in ran.notices and ran.outcomes() == ["success"]


@case("cursor-loop", one("cursor-loop"), call(("echo", {"s": "x"})))
def cursor_loop(ran: Ran) -> None:
    asked = [x for x in ran.log if x["event"] == "in" and x["method"] == "tools/list"]
    assert len(asked) <= 3 and len(ran.offered()) == len([n for n in ran.offered() if n.startswith("mcp__nasty")]) == 4


@case(
    "slash-names",
    {"team/tracker": nasty("closed-words"), "team_tracker": nasty()},
    call(("echo", {"s": "x"}), server="team_tracker"),
)
def names_with_a_slash(ran: Ran) -> None:
    assert all(NAME.fullmatch(name) for name in ran.offered())
    assert sum("echo" in name for name in ran.offered()) == 2 and ran.outcomes() == ["success"]


@case("instructions", one("instructions"), {"text": "read"})
def instructions(ran: Ran) -> None:
    system = str(ran.requests[0]["messages"][0])
    assert "Always call pid before echo. Ticket numbers begin with OPS-." in system and "nasty" in system


# -- what calls answer


@case("output-mismatch", one("output-mismatch"), call("count"))
def output_mismatch(ran: Ran) -> None:
    assert "42 rows were counted" in ran.results[0] and ran.outcomes() == ["success"]


@case("output-missing", one("output-missing"), call("told"))
def output_missing(ran: Ran) -> None:
    assert "17 rows were told" in ran.results[0] and ran.outcomes() == ["success"]


@case("unknown-block", one("unknown-block"), call("scene"))
def unknown_block(ran: Ran) -> None:
    assert "the readable half" in ran.results[0] and "hologram" in ran.results[0] and ran.outcomes() == ["success"]


@case("data-only", one("data-only"), call("table"))
def data_only(ran: Ran) -> None:
    assert "web-01" in ran.results[0] and ran.outcomes() == ["success"]


@case("text-and-data", one("text-and-data"), call("report"))
def text_and_data(ran: Ran) -> None:
    assert "2 hosts found" in ran.results[0] and "db-01" in ran.results[0]


@case("image", one("image"), call("screenshot"))
def image(ran: Ran) -> None:
    assert "the page" in ran.results[0] and "image" in ran.results[0]
    assert base64.b64encode(b"\x89PNG").decode()[:6] not in ran.results[0], "no base64 in the text"


@case("image-seen", one("image"), call("screenshot"), settings={"llm_config": {"vision": True}})
def image_for_a_model_that_takes_some(ran: Ran) -> None:
    image(ran)
    sent = [json.dumps(request["messages"]) for request in ran.requests]
    assert "data:image/png;base64,iVBORw0KGgo" in sent[1] and "data:image/png" not in json.dumps(ran.messages)


@case("link", one("link"), call("attachments"))
def link(ran: Ran) -> None:
    for part in ("incident-report.pdf", "application/pdf", "https://files.test/9f2c"):
        assert part in ran.results[0]


# -- secrets


@case("env-redaction", one(env={**PLAIN_VALUES, "API_TOKEN": TOKEN}), call("env"))
def env_redaction(ran: Ran) -> None:
    assert TOKEN not in ran.shown
    assert all(value in ran.results[0] for value in PLAIN_VALUES.values())


@case("fail-start", {"db": nasty("fail-start", DSN)}, {"text": "no tools"})
def fail_start(ran: Ran) -> None:
    assert PASSWORD not in ran.shown
    assert "db.test/x" in ran.notices and "db" in ran.notices


@case("argv-dsn", one(DSN), call("argv"))
def argv_with_a_dsn(ran: Ran) -> None:
    assert PASSWORD not in ran.shown and "db.test/x" in ran.results[0]


# -- the run of all, and the tests


STOPPED: dict[str, float] = {}
WORKER: list[str] = []


@pytest.fixture(scope="module")
def rans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ran]]:
    folder: Path = tmp_path_factory.mktemp("mcp")
    with running(folder) as runner:
        came = runner.run(list(CASES.values()))
        STOPPED["seconds"] = runner.stop()
        WORKER.extend([*runner.worker.lines, *runner.slow_worker.lines])
        yield came


@pytest.mark.parametrize("name", CHECKS)
def test_case(name: str, rans: dict[str, Ran]) -> None:
    check, ran = CHECKS[name], rans[name]
    try:
        check(*([ran, rans] if check.__code__.co_argcount == 2 else [ran]))
    except (AssertionError, LookupError, ValueError) as error:
        raise AssertionError(f"{error}\n{ran}") from error


@pytest.mark.parametrize("status", [f"status={status}" for status in REASONS])
def test_the_model_reads_the_status_and_the_reason(status: str, rans: dict[str, Ran]) -> None:
    ran, code = rans[status], int(status.partition("=")[2])
    assert str(code) in ran.results[1] and REASONS[code] in ran.results[1], ran
    assert ran.outcomes() == ["success", "failed", "success"], ran
    assert ran.results[0][:16] == ran.results[2][:16], "the session lives on"
    assert ran.ended_after < usual_end(rans) + 2 * SLACK, "a Retry-After of 30 s is not waited for"


def test_the_worker_stops_while_closing_a_session_hangs(rans: dict[str, Ran]) -> None:
    assert rans["close-hangs-open"].row["status"] == "waiting_for_input"
    assert STOPPED["seconds"] < 40  # the server answers after 60 s


def test_nothing_is_left_of_an_execution_that_is_over(rans: dict[str, Ran]) -> None:
    assert {key: ran.alive for key, ran in rans.items() if ran.alive} == {}


def test_no_model_reads_a_trace_of_the_sdk(rans: dict[str, Ran]) -> None:
    for ran in rans.values():
        assert not [trace for trace in TRACES for result in ran.results if trace in result], ran


def test_no_secret_is_in_the_workers_log(rans: dict[str, Ran]) -> None:
    assert rans and not [line for line in WORKER if PASSWORD in line or TOKEN in line]
