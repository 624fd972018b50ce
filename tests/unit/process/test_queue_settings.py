"""The models of a queue: its own list, and those that the control plane stores for it."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.models import Endpoint, Models
from kubiya_worker.models.routes import Route, Routing
from kubiya_worker.process import queue_settings
from kubiya_worker.settings import Settings

Object = dict[str, Any]
OWN: Object = {"model_name": "own", "litellm_params": {"model": "openai/own", "api_base": "http://queue.internal/v1"}}
KEY = "os.environ/KUBIYA_MODEL_KEY_A"


def stored(name: str, **params: Any) -> Object:
    params = {"model": "openai/up", "api_base": "http://stored.internal/v1", **params}
    return {"model_name": name, "litellm_params": params, "model_info": {"origin": "stored"}}


def routing(*rows: Object, enabled: bool = True, own: dict[str, Route] | None = None, **settings: Any) -> Routing:
    config = {"settings": {"enable_local_litellm_proxy": enabled, "litellm_config": {"model_list": list(rows)}}}
    chosen = Settings(**{"queue_id": "q", "api_key": "k", **settings})
    variables = {"KUBIYA_MODEL_KEY_A": "sk-a", "OTHER": "sk-other"}
    found = queue_settings.routing_of(config, chosen, own or {}, variables)
    assert found is not None
    return found


def base_url(routing: Routing, model: str) -> str:
    return Models(Endpoint("http://gateway"), {}, routing=routing).select(model).label.partition(" at ")[2]


def test_stored_models_take_no_other_model_away() -> None:
    found = routing(stored("small", api_key=KEY), enabled=False)
    assert (found.routes["small"].key, found.only) == ("sk-a", False)
    assert (base_url(found, "small"), base_url(found, "any")) == ("stored.internal", "gateway")


def test_a_host_with_an_endpoint_of_its_own_has_stored_models_too() -> None:
    found = routing(OWN, stored("small"), openai_base_url="http://host.internal/v1")
    assert set(found.routes) == {"small"} and not found.only


def test_the_hosts_list_wins_over_the_queues_and_that_over_stored_models() -> None:
    found = routing(OWN, stored("own"), stored("small"))
    assert (found.routes["own"].upstream, set(found.routes), found.only) == ("own", {"own", "small"}, True)
    host = {"own": Route("gateway", "of-the-host", "http://h"), "small": Route("gateway", "of-the-host", "http://h")}
    found = routing(OWN, stored("small"), stored("third"), own=host, enable_local_proxy=True)
    assert {name: route.upstream for name, route in found.routes.items()} == {
        **{"own": "of-the-host", "small": "of-the-host"},
        "third": "up",
    }


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"api_key": "os.environ/KUBIYA_MODEL_KEY_B"}, "KUBIYA_MODEL_KEY_B is not set"),
        ({"api_key": "os.environ/OTHER"}, "is no variable for models"),
        ({"api_key": "sk-in-the-open"}, "is no variable for models"),
        ({"api_base": "os.environ/OTHER"}, "OTHER is not set"),
        ({"model": "azure/x"}, "the provider azure"),
        ({"extra_headers": {"X-A": "${OTHER}"}}, "may not use the worker's variable OTHER"),
        ({"rpm": 1}, "rpm"),
    ],
)
def test_a_stored_model_that_cannot_be_reached_stops_no_other_one(params: Object, told: str) -> None:
    with capture_logs() as logs:
        found = routing(stored("broken", **params), stored("small", api_key=KEY), enabled=False)
    models = Models(Endpoint("http://gateway"), {}, routing=found)
    assert models.select("small")
    with pytest.raises(ConfigurationError, match=told):
        models.select("broken")
    (line,) = [each for each in logs if each["event"] == "queue.model_refused"]
    assert line["model"] == "broken" and told in line["error"]
    assert "sk-" not in str(logs)
