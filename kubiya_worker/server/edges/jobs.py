"""This module models jobs and their triggers."""

from __future__ import annotations

from typing import Annotated, Final

from kubiya_worker.server.edges.base import Filled, Json, Name, Strict, checked_by, one_of, within
from kubiya_worker.server.edges.configuration import Configuration, RunEnvironment, TeamConfiguration, own_servers

TRIGGERS = ("cron", "webhook", "manual")
EXECUTORS = ("auto", "specific_queue", "environment")
# What a schedule does while a run of it is still going, with Temporal's words. Its `terminate_other` is not among them:
# a run that is terminated cannot write its end.
OVERLAPS: Final = ("allow_all", "skip", "buffer_one", "buffer_all", "cancel_other")
CATCH_UP: Final = (10, 365 * 24 * 3600)  # seconds; Temporal takes no less than 10


class AgentJobConfig(Configuration):
    """The part of an agent's configuration that a job replaces."""

    model_id: str | None = None


class JobConfig(TeamConfiguration):
    """The part of a configuration that a job replaces; an agent has fewer fields than a team."""

    model_id: str | None = None


OwnConfig = Annotated[JobConfig, checked_by(own_servers)]


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
    config: OwnConfig | None = None
    execution_environment: RunEnvironment | None = None
    webhook_secret: Filled | None = None
    overlap_policy: Annotated[str, one_of(*OVERLAPS)] | None = None
    catch_up_seconds: Annotated[int, within(*CATCH_UP, "seconds")] | None = None


class NewJob(JobPatch):
    name: Name
    trigger_type: Annotated[str, one_of(*TRIGGERS)]


class Trigger(Strict):
    """Values for the template, and what this run sets over the job's config."""

    parameters: Json | None = None
    config_override: OwnConfig | None = None
