"""This module joins the stores of one database: what the control plane remembers, by what it is."""

from __future__ import annotations

import functools

from kubiya_worker.server import shared_parts, stored_models
from kubiya_worker.server.auth import Keys
from kubiya_worker.server.locks import Locks
from kubiya_worker.server.sealing import Seal
from kubiya_worker.server.sessions import Sessions
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.answer_tokens import AnswerTokens
from kubiya_worker.server.store.approvals import Approvals
from kubiya_worker.server.store.audit import Audit
from kubiya_worker.server.store.database import Database
from kubiya_worker.server.store.deliveries import Deliveries
from kubiya_worker.server.store.events import Events
from kubiya_worker.server.store.executions import Executions
from kubiya_worker.server.store.hooks import Hooks
from kubiya_worker.server.store.jobs import Jobs
from kubiya_worker.server.store.notification_deliveries import NotificationDeliveries
from kubiya_worker.server.store.outbox import Outbox
from kubiya_worker.server.store.records import Object, Records
from kubiya_worker.server.store.removals import Removals
from kubiya_worker.server.store.replies import Replies
from kubiya_worker.server.store.results import Results
from kubiya_worker.server.store.schedules import Schedules
from kubiya_worker.server.store.secrets import Secrets
from kubiya_worker.server.store.stops import Stops
from kubiya_worker.server.store.versions import Versions
from kubiya_worker.server.store.workers import Workers


class Stores:
    """Every store of a database. They share its transactions, and know nothing of Temporal or of who asks."""

    def __init__(self, database: Database, seal: Seal) -> None:
        """Open the stores; `seal` closes what the database must not show."""
        self.database = database
        records = functools.partial(Records, database)

        # Who may ask, and what was done
        self.keys = Keys(database)
        self.sessions = Sessions(database, self.keys)
        self.audit = Audit(database)
        self.stops = Stops(database)
        self.locks = Locks(database)

        # What people define
        self.environments = records(schema.environments, "environment")
        self.queues = records(schema.queues, "queue")
        self.agents = records(schema.agents, "agent")
        self.teams = records(schema.teams, "team")
        self.rules = records(schema.rules, "rule")
        self.skills = records(schema.skills, shared_parts.SKILL)
        self.mcp_servers = records(schema.mcp_servers, shared_parts.SERVER)
        self.models = records(schema.models, stored_models.KIND)
        self.secrets = Secrets(database, seal)
        self.versions = Versions(database)

        # What runs, and what it leaves
        self.workers = Workers(database)
        self.executions = Executions(database, seal)
        self.events = Events(database)
        self.results = Results(database)
        self.approvals = Approvals(database)
        self.removals = Removals(database)

        # What starts runs, and who is told of them
        self.jobs = Jobs(database, seal)
        self.deliveries = Deliveries(database)
        self.hooks = Hooks(database)
        self.replies = Replies(database)
        self.notifications = records(schema.notifications, "notification")
        self.notification_deliveries = NotificationDeliveries(database)
        self.answer_tokens = AnswerTokens(database)

        # What Temporal is to be told
        self.outbox = Outbox(database)
        self.schedules = Schedules(database)

    def shared_part(self, organization_id: str, kind: str, name: str) -> Object | None:
        """Return a skill or an MCP server that definitions name."""
        return (self.skills if kind == shared_parts.SKILL else self.mcp_servers).find(organization_id, name)

    def execution_of(self, execution_id: str) -> Object | None:
        """Return an execution of any organization; None when it was deleted."""
        organization_id = self.executions.owner(execution_id)
        return self.executions.get(organization_id, execution_id) if organization_id else None
