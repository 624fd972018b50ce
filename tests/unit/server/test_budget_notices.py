"""People are told when a run has used much of its budget: once for each budget, by figures of its events."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from kubiya_worker.server.notify import budget, budget_watch
from kubiya_worker.server.notify.budget import SpentBudget
from tests.support.api import Api, Object
from tests.unit.server.test_notifications import deliveries, told_of

CHANNEL = {"type": "ntfy", "url": "https://ntfy.example.com", "topic": "duty"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(tmp_path_factory.mktemp("budgets")) as made:
        yield made


@pytest.fixture(autouse=True)
def no_others(api: Api) -> Iterator[None]:
    yield
    for one in api.call("GET", "/notifications"):
        api.call("DELETE", f"/notifications/{one['id']}")


def run(api: Api, **budgets: Any) -> str:
    agent = api.agent(configuration={"budgets": budgets})
    execution = api.execute(agent=agent["id"])
    api.call("PATCH", f"/executions/{execution}", {"status": "running"})
    return execution


def published(api: Api, execution: str, *events: tuple[str, Object]) -> None:
    body = [{"event_id": uuid.uuid4().hex, "event_type": kind, "data": data} for kind, data in events]
    api.call("POST", f"/executions/{execution}/events/batch", {"events": body})


def called(tokens: int, message: str = "", cost: float = 0.0, **more: Any) -> tuple[str, Object]:
    usage = {"input_tokens": tokens, "output_tokens": 0, "cost_usd": cost}
    about = {"role": "assistant", "content": "", "message_id": message or uuid.uuid4().hex, "usage": usage}
    return ("member_message_complete" if more else "message", {**about, **more})


def look(api: Api, at: float | None = None) -> None:
    for _ in budget_watch.look(api.plane, time.time() if at is None else at):
        pass


def told(api: Api, made: Object) -> list[str]:
    """Return the titles, the oldest first."""
    return [each["title"] for each in deliveries(api, made)][::-1]


def test_a_run_that_nears_the_end_of_its_budget_is_told_once(api: Api) -> None:
    made = told_of(api, CHANNEL, "budget_near_end")
    execution = run(api, max_tokens=1_000, max_cost_usd=1.0)
    published(api, execution, called(500, "m1"), called(290, "m2", 0.1))
    look(api)
    assert told(api, made) == []
    published(api, execution, called(290, "m2", 0.1))  # the call was made again, as its worker was lost
    look(api)
    assert told(api, made) == []
    published(api, execution, called(20, member_name="scout", source="team_member", member_execution_id="x"))
    look(api)
    (title,) = told(api, made)
    assert title.endswith("has used 81 % of its budget")
    (row,) = api.plane.stores.notification_deliveries.of(made["id"], 9)
    assert row.data["event"] == "budget_near_end" and row.data["severity"] == "warning"
    assert row.data["text"].splitlines() == ["810 of 1,000 tokens (81 %)", "The run ends then, and fails"]
    assert row.data["facts"]["budget"]["max_tokens"] == {"used": 810.0, "limit": 1000}
    published(api, execution, called(100))
    look(api)
    assert len(told(api, made)) == 1


def test_a_definition_says_from_which_share_on_it_is_told(api: Api) -> None:
    early = told_of(api, CHANNEL, "budget_near_end", budget_percent=50)
    late = told_of(api, CHANNEL, "budget_near_end", budget_percent=95)
    execution = run(api, max_cost_usd=2.0)
    published(api, execution, called(1, cost=1.0))
    look(api)
    assert (len(told(api, early)), len(told(api, late))) == (1, 0)
    published(api, execution, called(1, cost=0.9))
    look(api)
    assert (len(told(api, early)), len(told(api, late))) == (1, 1)
    more = {"name": "x", "channel": CHANNEL, "events": ["budget_near_end"], "budget_percent": 100}
    assert "1 to 99" in api.ask("POST", "/notifications", more).text


def test_a_raised_budget_is_another_one(api: Api) -> None:
    made = told_of(api, CHANNEL, "budget_near_end")
    execution = run(api, max_tokens=100, on_limit="ask")
    published(api, execution, called(100))
    look(api)
    about = {"execution_id": execution, "tool_name": "raise_budget", "tool_args": {"max_tokens": 200}}
    approval = api.call("POST", "/approvals", about, 201)
    api.call("POST", f"/approvals/{approval['id']}/approve", {"arguments": {"max_tokens": 1_000}})
    published(api, execution, called(100))
    look(api)
    assert len(told(api, made)) == 1
    published(api, execution, called(650))
    look(api)
    shares = [title.partition(" has ")[2] for title in told(api, made)]
    assert shares == ["used 100 % of its budget", "used 85 % of its budget"]


def test_after_a_restart_all_open_runs_are_looked_at(api: Api) -> None:
    made = told_of(api, CHANNEL, "budget_near_end")
    execution, over = run(api, max_steps=5), run(api, max_steps=5)
    for each in (execution, over):
        published(api, each, *[called(1) for _ in range(4)])
    api.call("PATCH", f"/executions/{over}", {"status": "completed"})
    with api.plane.database.transaction():  # the workflow has begun: nothing waits for Temporal
        api.plane.database.connection.exec_driver_sql("delete from outbox")
    api.plane.budgets.look_at_all()
    api.plane.budgets.forget(execution)
    look(api)
    rows = [row.data["facts"]["execution_id"] for row in api.plane.stores.notification_deliveries.of(made["id"], 50)]
    assert rows.count(execution) == 1 and over not in rows  # what is over has nothing to spare any more


def test_a_tool_that_runs_for_long_uses_the_time_up_without_a_word(api: Api) -> None:
    made = told_of(api, CHANNEL, "budget_near_end")
    look(api)  # the first one is about the runs that Temporal has, and here is no Temporal
    execution = run(api, max_seconds=600)
    published(api, execution, ("tool_started", {"tool_execution_id": "t1", "tool_name": "shell"}))
    look(api)
    look(api, time.time() + 400)
    assert told(api, made) == []
    look(api, time.time() + 500)
    assert len(told(api, made)) == 1


def test_who_is_not_asked_to_watch_budgets_counts_nothing(api: Api) -> None:
    told_of(api, CHANNEL, "run_failed")
    look(api)
    published(api, run(api, max_tokens=10), called(100))
    assert not api.plane.budgets.watched


def at(seconds: float) -> str:
    return datetime.fromtimestamp(1_000_000 + seconds, UTC).isoformat()


def test_seconds_are_those_of_models_and_tools_and_not_of_people() -> None:
    spent = SpentBudget()
    step = {"started_at": at(0)}
    spent.take(1, "message", at(10), {"message_id": "1", "usage": {"output_tokens": 1}, "step": step})
    spent.take(2, "tool_started", at(100), {"tool_execution_id": "a"})  # a person was asked before
    spent.take(3, "tool_started", at(101), {"tool_execution_id": "b"})
    spent.take(4, "member_tool_started", at(102), {"tool_execution_id": "c", "source": "team_member"})
    spent.take(5, "tool_completed", at(105), {"tool_execution_id": "a"})
    spent.take(6, "tool_completed", at(120), {"tool_execution_id": "b"})
    assert spent.used(1_000_200)["max_seconds"] == 30
    spent.take(7, "tool_started", at(150), {"tool_execution_id": "d"})
    assert spent.used(1_000_200)["max_seconds"] == 80
    assert (budget.figure(0.5), budget.figure(1_000.0)) == ("0.5", "1,000")
