"""This module stores jobs, the webhooks that start them, and the executions that they started."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field

from sqlalchemy import delete, func, insert, select, update

from kubiya_worker.protocol import execution as ex
from kubiya_worker.server.sealing import Seal, is_sealed
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database
from kubiya_worker.server.store.journal import Change
from kubiya_worker.server.store.records import Object, Records

W = schema.webhooks
R = schema.job_runs
E = schema.executions


@dataclass(frozen=True)
class Webhook:
    path: str
    job_id: str
    organization_id: str
    sealed: str = field(repr=False)


class Jobs(Records):
    def __init__(self, database: Database, seal: Seal) -> None:
        super().__init__(database, schema.jobs, "job")
        self._seal = seal

    # -- webhooks

    def webhook(self, *, path: str = "", job_id: str = "") -> Webhook | None:
        row = self._db.execute(select(W).where(W.c.path == path if path else W.c.job_id == job_id)).first()
        return Webhook(row.path, row.job_id, row.organization_id, row.secret) if row else None

    def webhook_secret(self, hook: Webhook) -> str:
        """Return the secret itself, which an HMAC needs. Raises ConfigurationError when it cannot be opened."""
        return self._seal.open(hook.sealed, _place(hook.job_id)) if is_sealed(hook.sealed) else hook.sealed

    def set_webhook(self, job: Object, secret: str | None) -> str | None:
        """Create the webhook or replace its secret.

        Without `secret`, a webhook that has none gets a new one, which is returned.
        """
        known = self.webhook(job_id=job["id"])
        new_secret = None if known or secret else secrets.token_urlsafe(32)
        fresh = secret or new_secret
        sealed = self._seal.close(fresh, _place(job["id"])) if fresh else ""
        with self._db.transaction():
            if known is None:
                path = secrets.token_urlsafe(18)
                row = {"path": path, "job_id": job["id"], "organization_id": job["organization_id"]}
                self._db.execute(insert(W), {**row, "secret": sealed})
                self._record(job, "webhook_create")
            elif secret:
                self._db.execute(update(W).where(W.c.job_id == job["id"]).values(secret=sealed))
                self._record(job, "webhook_secret")
        return new_secret

    def drop_webhook(self, job: Object) -> None:
        if self.webhook(job_id=job["id"]) is None:
            return
        with self._db.transaction():
            self._db.execute(delete(W).where(W.c.job_id == job["id"]))
            self._record(job, "webhook_delete")

    def _record(self, job: Object, verb: str, **about: str) -> None:
        """Have something recorded that is not a change of the job's fields; a webhook's path and secret are not."""
        self._db.changed(Change(job["organization_id"], "job", job["id"], job["name"], verb=verb, about=about))

    # -- executions

    def add_run(self, job: Object, execution_id: str, trigger_type: str) -> None:
        row = {"job_id": job["id"], "execution_id": execution_id, "trigger_type": trigger_type}
        with self._db.transaction():
            self._db.execute(insert(R), row)
            self._record(job, "run", execution_id=execution_id, trigger_type=trigger_type)

    def of_run(self, execution_id: str) -> Object | None:
        """Return the job that has started an execution; None for one that no job has started, or that is gone."""
        query = select(schema.jobs).join(R, R.c.job_id == schema.jobs.c.id).where(R.c.execution_id == execution_id)
        row = self._db.execute(query).first()
        return self._object(row) if row else None

    def has_run(self, job_id: str, execution_id: str) -> bool:
        query = select(R.c.job_id).where(R.c.job_id == job_id, R.c.execution_id == execution_id)
        return self._db.execute(query).first() is not None

    def runs(self, job_id: str, skip: int, limit: int) -> list[Object]:
        """Return a job's executions, newest first."""
        query = select(E.c.id, E.c.execution_type, E.c.status, E.c.created_at, E.c.data, R.c.trigger_type)
        query = query.join(R, R.c.execution_id == E.c.id).where(R.c.job_id == job_id)
        rows = self._db.execute(query.order_by(E.c.created_at.desc()).offset(skip).limit(limit))
        columns = ("id", "execution_type", "status", "created_at", "trigger_type")
        return [{**json.loads(row.data), **{name: getattr(row, name) for name in columns}} for row in rows]

    def tallies(self, organization_id: str) -> dict[str, Object]:
        """Return each job's number of runs, and the time and status of its last one.

        Jobs that never ran are missing.
        """
        same = (R.c.job_id, E.c.status)
        place = func.row_number().over(partition_by=same, order_by=E.c.created_at.desc()).label("place")
        count_ = func.count().over(partition_by=same).label("count")
        query = select(R.c.job_id, E.c.status, count_, E.c.created_at, E.c.id, place)
        rows = query.join(E, R.c.execution_id == E.c.id).where(E.c.organization_id == organization_id).subquery()
        newest = select(*(rows.c[name] for name in ("job_id", "status", "count", "created_at", "id")))
        tallies: dict[str, Object] = {}
        for job_id, status, count, last, execution_id in self._db.execute(newest.where(rows.c.place == 1)):
            tally = tallies.setdefault(job_id, no_runs())
            tally["total_executions"] += count
            if last > (tally["last_execution_at"] or ""):
                tally.update(last_execution_at=last, last_execution_status=status, last_execution_id=execution_id)
            if ex.is_final(status):
                tally["successful_executions" if status == ex.COMPLETED else "failed_executions"] += count
        return tallies


def _place(job_id: str) -> str:
    return f"webhook:{job_id}"


def no_runs() -> Object:
    return {
        "total_executions": 0,
        "successful_executions": 0,
        "failed_executions": 0,
        "last_execution_at": None,
        "last_execution_status": None,
        "last_execution_id": None,
    }
