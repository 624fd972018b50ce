"""Our models and those of the published server's double stand side by side: neither may leave the other unnoticed."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from kubiya_worker.server.edges import configuration, definitions, executions, jobs, worker
from kubiya_worker.server.edges.base import fields_of
from tests.support.published_plane import bodies

# The published model of each body, and ours.
PEOPLE: dict[type[BaseModel], type[BaseModel]] = {
    bodies.Environment: configuration.RunEnvironment,
    bodies.Agent: definitions.NewAgent,
    bodies.AgentPatch: definitions.AgentPatch,
    bodies.Team: definitions.NewTeam,
    bodies.TeamPatch: definitions.TeamPatch,
    bodies.Skill: definitions.Skill,
    bodies.Rule: definitions.NewRule,
    bodies.Queue: definitions.NewQueue,
    bodies.QueuePatch: definitions.QueuePatch,
    bodies.Execute: executions.Execute,
    bodies.Entity: executions.Entity,
    bodies.Dynamic: executions.ExecuteDynamic,
    bodies.Message: executions.Message,
    bodies.Terminate: executions.Terminate,
    bodies.TerminateAll: executions.TerminateAll,
    bodies.Approve: executions.Answer,
    bodies.Reject: executions.Answer,
    bodies.Job: jobs.NewJob,
    bodies.Trigger: jobs.Trigger,
}
WORKERS: dict[type[BaseModel], Any] = {
    bodies.SystemInfo: worker.SystemInfo,
    bodies.Start: worker.Start,
    bodies.Beat: worker.Beat,
    bodies.Disconnect: worker.Disconnect,
    bodies.ExecutionPatch: worker.ExecutionPatch,
    bodies.Event: worker.Event,
    bodies.TurnBody: worker.TurnBody,
    bodies.ToolCallBody: worker.ToolCallBody,
    bodies.Batch: worker.Batch,
    bodies.Approval: worker.Approval,
    bodies.Resolve: worker.Resolve,
    bodies.JobExecution: worker.JobExecution,
    bodies.JobStatus: worker.JobStatus,
    bodies.Lock: worker.LockBody,
}
# Bodies without a model of ours: the routes are not there, or the body is any object.
ELSEWHERE = {bodies.Task, bodies.TaskPatch, bodies.Session}
# Fields whose type is another one on purpose: a worker may leave them out here, or they are not looked into.
OTHERWISE = {
    ("Disconnect", "reason"),
    ("Batch", "tasks"),
    ("Lock", "worker_id"),
    ("Lock", "lock_duration_seconds"),
}


def test_every_body_of_the_published_server_has_its_pair() -> None:
    models = {each for _, each in inspect.getmembers(bodies, inspect.isclass) if issubclass(each, BaseModel)}
    assert models - {BaseModel} == {*PEOPLE, *WORKERS, *ELSEWHERE}


@pytest.mark.parametrize(("published", "ours"), PEOPLE.items(), ids=lambda model: model.__name__)
def test_a_published_field_is_taken_or_refused_by_name(published: type[BaseModel], ours: type[BaseModel]) -> None:
    assert set(published.model_fields) <= set(fields_of(ours))


@pytest.mark.parametrize(("published", "ours"), WORKERS.items(), ids=lambda model: model.__name__)
def test_a_field_of_a_worker_has_the_published_type(published: type[BaseModel], ours: Any) -> None:
    theirs, here = types_of(published), types_of(ours)
    wrong = {
        name: (kind, here.get(name))
        for name, kind in theirs.items()
        if here.get(name) != kind and (published.__name__, name) not in OTHERWISE
    }
    assert not wrong
    required = set(schema_of(published).get("required", ()))
    assert set(schema_of(ours).get("required", ())) <= required, "a worker of others sends what is required there"


def schema_of(model: Any) -> dict[str, Any]:
    return TypeAdapter(model).json_schema()


def types_of(model: Any) -> dict[str, Any]:
    return {name: kind(about) for name, about in schema_of(model)["properties"].items()}


def kind(schema: dict[str, Any]) -> Any:
    """Return a JSON type with what it holds, without texts, limits and defaults."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "anyOf" in schema:
        return tuple(sorted(map(str, map(kind, schema["anyOf"]))))
    if "enum" in schema:
        return tuple(schema["enum"])
    return (schema.get("type"), kind(schema["items"]) if schema.get("items") else None)
