"""A worker that polls where no work is sent to is told so, by what its settings name."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.process.work_place import differences
from kubiya_worker.settings import Settings

TOLD = Registration("w1", "q", temporal_host="temporal.example:7233", temporal_cluster_id="c1", work_queue="q")


@pytest.mark.parametrize(
    ("given", "cluster", "said"),
    [
        ({}, "", []),
        ({"task_queue": "q", "temporal_namespace": "default", "temporal_host": "10.0.0.1:7233"}, "c1", []),
        ({"task_queue": "other"}, "", ["the queue 'other', and work is sent to 'q'"]),
        ({"temporal_namespace": "other"}, "", ["the namespace 'other', and work is sent to 'default'"]),
        ({"temporal_host": "10.0.0.1:7233"}, "c2", ["Temporal at 10.0.0.1:7233, and work is sent to another one"]),
        ({"temporal_host": "10.0.0.1:7233"}, "", []),
    ],
)
def test_differences_are_named(given: dict[str, Any], cluster: str, said: list[str]) -> None:
    found = differences(Settings(queue_id="q", api_key="k", **given), TOLD, cluster)
    assert len(found) == len(said) and all(text in found[n][0] for n, text in enumerate(said))
    assert all("Unset TEMPORAL_" in remedy for _, remedy in found)


def test_another_control_plane_does_not_tell_its_cluster() -> None:
    given = Settings(queue_id="q", api_key="k", temporal_host="10.0.0.1:7233")
    assert differences(given, Registration("w1", "q"), "c2") == []
