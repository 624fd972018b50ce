"""Many clients of one execution, some of which do not read: nobody lacks an event.

`scripts.bench.fan_out` has the times.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.bench.fan_out import RATE, follow
from tests.support.control_plane import ControlPlane


@pytest.mark.slow
async def test_a_hundred_clients_have_each_event_beside_ten_that_do_not_read(tmp_path: Path) -> None:
    with ControlPlane(tmp_path) as plane:
        found = await follow(plane, 100, 3 * RATE, deaf=10)
    assert len(found.delays) == 100 * 3 * RATE
