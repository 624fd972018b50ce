"""This module asks PostgreSQL's planner about a statement, which is not run for that."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, text

from kubiya_worker.server.store.statement import Reader


def expected(reader: Reader, statement: Select[Any]) -> int:
    """Return how many rows the planner expects, by the statistics that the server keeps of each table.

    https://www.postgresql.org/docs/current/row-estimation-examples.html
    """
    compiled = statement.compile()
    plan = reader.execute(text(f"explain (format json) {compiled}"), compiled.params).scalar()
    return int(plan[0]["Plan"]["Plan Rows"])
