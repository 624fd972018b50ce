"""The API describes itself: a document for programs, and a page for people that needs no script."""

from __future__ import annotations

from typing import Any

from tests.integration.server.test_access import PROVEN, WITHOUT_KEY, routes
from tests.support.control_plane import ControlPlane

UNLISTED = {"/health", "/api/health", "/api/health/detailed", "/api/ready", "/metrics"}
SIGNED = {"/api/v1/jobs/webhook/{path}", "/hooks/{name}"}  # a sender proves each delivery, and has no key


def test_the_document_has_every_route_that_needs_a_key(plane: ControlPlane) -> None:
    answer = plane.http.get(f"{plane.url}/openapi.json", headers={"Authorization": None}, timeout=30)
    document = answer.json()
    assert answer.status_code == 200 and document["openapi"] == "3.1.0"
    listed = {(m.upper(), path) for path, about in document["paths"].items() for m in about}
    keyless = UNLISTED | SIGNED | PROVEN | WITHOUT_KEY
    wanted = {(m, path.replace(":path}", "}").replace(":file}", "}")) for m, path in routes() if path not in keyless}
    assert listed == wanted | {("POST", "/api/v1/batch")}
    names = [one["operationId"] for about in document["paths"].values() for one in about.values()]
    assert len(set(names)) == len(names)


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for inner in value.values() for found in references(inner)]
    return [found for inner in value for found in references(inner)] if isinstance(value, list) else []


def test_the_document_refers_only_to_what_it_holds(plane: ControlPlane) -> None:
    document = plane.call("GET", "//openapi.json")
    held = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) and set(references(document)) <= held
    body = document["paths"]["/api/v1/agents"]["post"]["requestBody"]
    assert body["required"] and body["content"]["application/json"]["schema"]["$ref"].endswith("/NewAgent")
    agent = document["components"]["schemas"]["NewAgent"]
    assert agent["required"] == ["name"] and agent["additionalProperties"] is False
    assert {"system_prompt", "model_config", "skills"} <= set(agent["properties"])
    assert agent["properties"]["runner_name"]["deprecated"]
    limit = next(p for p in document["paths"]["/api/v1/executions"]["get"]["parameters"] if p["name"] == "limit")
    assert limit["in"] == "query" and limit["schema"]["default"] == 50


def test_the_page_lists_routes_and_fields_and_complains_of_nothing(plane: ControlPlane, page: Any) -> None:
    answer = page.goto(f"{plane.url}/api")
    assert answer.status == 200 and "script-src 'self'" in answer.headers["content-security-policy"]
    assert page.locator("#post_agents h3").inner_text() == "POST /api/v1/agents"
    page.locator("#post_agents").get_by_role("link", name="NewAgent").click()
    assert page.url.endswith("#NewAgent")
    assert "system_prompt" in page.locator("#NewAgent table").inner_text()
    assert "called by workers" in page.locator("#post_executions_execution_events_batch h3").inner_text()
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
