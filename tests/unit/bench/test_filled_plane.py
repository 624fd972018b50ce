"""The benches' database has the same executions and events, whether it is a file or on a PostgreSQL server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.server.store.address import Place
from kubiya_worker.server.store.opened import open_database
from scripts.bench import filled_plane
from tests.support import databases, postgres

EVENTS = "select execution_id, sequence, event_id, event_type, subject, data, micros from events"
EXECUTIONS = "select id, entity_id, queue_id, status, words, requester from executions"


def filled(place: Place) -> dict[str, list[Any]]:
    open_database(place).close()
    ids = filled_plane.fill(place, 40, events=30)
    assert databases.size(place) > 40 * 30 * 100
    with databases.opened(place) as beside:
        found = {query: sorted(map(tuple, beside.execute(query).fetchall()), key=str) for query in (EVENTS, EXECUTIONS)}
    return {"ids": ids, **found}


@pytest.mark.skipif(postgres.programs() is None, reason="PostgreSQL is not installed (apt-get install postgresql)")
def test_both_databases_are_filled_alike(tmp_path: Path) -> None:
    with postgres.postgres_server() as server:
        on_server = filled(server.database())
    in_file = filled(tmp_path / "cp.db")
    assert len(in_file[EVENTS]) == 40 * 30
    assert on_server == in_file
