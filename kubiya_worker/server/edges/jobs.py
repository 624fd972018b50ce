"""This module models jobs and their triggers."""

from __future__ import annotations

from typing import Annotated, Any

from kubiya_worker.server.edges.base import Filled, Json, Name, NotSupported, Strict, one_of
from kubiya_worker.server.edges.configuration import Configuration, RunEnvironment, TeamConfiguration

TRIGGERS = ("cron", "webhook", "manual")
EXECUTORS = ("auto", "specific_queue", "environment")


class AgentJobConfig(Configuration):
    """The part of an agent's configuration that a job replaces."""

    model_id: str | None = None


class JobConfig(TeamConfiguration):
    """The part of a configuration that a job replaces; an agent has fewer fields than a team."""

    model_id: str | None = None


class JobPatch(Strict):
    name: Name | None = None
    description: str | None = None
    enabled: bool | None = None
    trigger_type: Annotated[str, one_of(*TRIGGERS)] | None = None
    cron_schedule: str | None = None
    cron_timezone: str | None = None
    planning_mode: str | None = None
    entity_type: str | None = None
    entity_id: str | None = None
    prompt_template: Filled | None = None
    system_prompt: str | None = None
    executor_type: Annotated[str, one_of(*EXECUTORS)] | None = None
    worker_queue_name: str | None = None
    environment_name: str | None = None
    config: JobConfig | None = None
    execution_environment: RunEnvironment | None = None
    webhook_secret: Filled | None = None
    overlap_policy: Annotated[Any, NotSupported("Each firing starts a run", ("allow_all",))] = None


class NewJob(JobPatch):
    name: Name
    trigger_type: Annotated[str, one_of(*TRIGGERS)]


class Trigger(Strict):
    """Values for the template, and what this run sets over the job's config."""

    parameters: Json | None = None
    config_override: JobConfig | None = None
