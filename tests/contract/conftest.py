"""Both control planes on one Temporal, with workflows that end as they are told."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.contract.control_planes import PlaneUnderTest
from tests.support.published_plane import PublishedPlane
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, PlaneUnderTest]]:
    with Stack(tmp_path_factory.mktemp("contract")) as stack, PublishedPlane(temporal=stack.temporal_address) as double:
        ours = stack.call("GET", "/worker-queues/default")["id"]
        queues = [ours, double.queue_id]
        program = [sys.executable, "-m", "tests.support.scripted_workflows", "--address", stack.temporal_address]
        stack.start([*program, *queues]).expect("scripted.ready")
        world = double.world
        world.judge_delay, world.look, world.row_look, world.query_time = 0.0, 0.05, 0.05, 4.0
        yield {
            "ours": PlaneUnderTest("ours", stack.url, stack.key, ours, stack.temporal_address),
            "published": PlaneUnderTest(
                "published", double.url, double.key, double.queue_id, stack.temporal_address, world
            ),
        }
