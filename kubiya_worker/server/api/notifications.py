"""This module serves notifications: definitions of channels, what was delivered by them, and a test of each."""

from __future__ import annotations

import time
from typing import Any, Final

from starlette.routing import Route

from kubiya_worker import templates
from kubiya_worker.server.call import Call, page
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import filters
from kubiya_worker.server.edges import notifications as edges
from kubiya_worker.server.notify import events
from kubiya_worker.server.refusals import ApiError, invalid, not_found
from kubiya_worker.server.store import definitions
from kubiya_worker.server.store.journal import Change
from kubiya_worker.server.store.records import Object

NO_DELIVERIES: Final = {"waiting": 0, "sent": 0, "dead": 0, "dropped": 0, "last_error": None}


def _notification_of(call: Call) -> Object:
    notification = call.plane.stores.notifications.find(call.organization_id, call.path("notification"))
    if notification is None:
        raise not_found("Notification", call.path("notification"))
    return notification


def _checked(call: Call, fields: Object) -> Object:
    """Return what is given; answer 422 for a secret, an agent, a team or a queue that is not there."""
    plane, organization = call.plane, call.organization_id
    for name in sorted(templates.secrets_in(fields.get("channel"))):
        if plane.stores.secrets.find(organization, name) is None:
            raise invalid("channel", f"There is no secret {name}. Set it first: kubiya secrets set {name}")
    stores = {"agents": plane.stores.agents, "teams": plane.stores.teams, "queues": plane.stores.queues}
    then = fields.get("then")
    if then and plane.stores.notifications.find(organization, then["notification"]) is None:
        raise invalid("then", f"There is no notification {then['notification']!r}")
    for kind, names in (fields.get("filters") or {}).items():
        for name in names or ():
            if stores[kind].find(organization, name) is None:
                raise invalid("filters", f"There is no {kind.removesuffix('s')} {name!r}")
    return fields


async def list_all(call: Call) -> Any:
    """List the notifications, each with how many deliveries wait, were sent, and are dead."""
    tallies = call.plane.stores.notification_deliveries.tallies(call.organization_id)
    stored = page(call, call.plane.stores.notifications.list(call.organization_id))
    return [{**one, "deliveries": tallies.get(one["id"], NO_DELIVERIES)} for one in stored]


async def create(call: Call) -> Any:
    fields = _checked(call, call.fields)
    return call.plane.stores.notifications.create(
        call.organization_id, fields["name"], definitions.new_notification(fields)
    )


async def get(call: Call) -> Any:
    return _notification_of(call)


async def update(call: Call) -> Any:
    notification, fields = _notification_of(call), _checked(call, call.fields)
    if fields.get("name", notification["name"]) != notification["name"]:
        _refuse_if_next(call, notification, "renamed")
    with call.plane.database.transaction():
        changed = call.plane.stores.notifications.update(notification, fields)
        if "quiet_hours" in fields:  # what waits for the end of the old ones is looked at anew
            call.plane.stores.notification_deliveries.look_again(notification["id"], time.time())
    call.plane.notifier.wake()
    return changed


def _refuse_if_next(call: Call, notification: Object, deed: str) -> None:
    """Answer 409 where another notification names this one as the next: nobody would be told then."""
    names = {notification["id"], notification["name"]}
    others = [
        each for each in call.plane.stores.notifications.list(call.organization_id) if each["id"] != notification["id"]
    ]
    users = [each["name"] for each in others if (each.get("then") or {}).get("notification") in names]
    if users:
        shown = ", ".join(users[:20])
        raise ApiError(409, f"It cannot be {deed}: {shown} names it in `then`. Change that first")


async def delete(call: Call) -> Any:
    """Delete a notification, and with it what its channel has not got yet."""
    notification = _notification_of(call)
    _refuse_if_next(call, notification, "deleted")
    call.plane.stores.notifications.delete(notification)


async def deliveries(call: Call) -> Any:
    """List the newest deliveries of a notification: {id, state, attempts, error, event, title, created_at}."""
    wanted = call.filters(filters.Page)
    stored = call.plane.stores.notification_deliveries.of(_notification_of(call)["id"], wanted.skip + wanted.limit)
    return [delivery.json() for delivery in stored[wanted.skip :]]


async def retry(call: Call) -> Any:
    """Let the dead deliveries of a notification be tried again."""
    notification = _notification_of(call)
    with call.plane.database.transaction():
        count = call.plane.stores.notification_deliveries.revive(notification["id"], time.time())
        _record(call, notification, "retry")
    call.plane.notifier.wake()
    return {"retried": count}


async def test(call: Call) -> Any:
    """Send a test message now, once, and return what became of it."""
    notification = _notification_of(call)
    with call.plane.database.transaction():
        key = call.plane.notifier.add(notification, events.test(notification["name"]), events.TEST)
        _record(call, notification, "test")
    delivery = await call.plane.notifier.settled(key)
    if delivery is None:
        raise not_found("Notification", notification["name"])
    return delivery.json()


def _record(call: Call, notification: Object, verb: str) -> None:
    call.plane.database.changed(
        Change(call.organization_id, "notification", notification["id"], notification["name"], verb=verb)
    )


ROUTES: list[Route] = [
    Edge("GET", "/notifications", list_all, query=filters.Page),
    Edge("POST", "/notifications", create, 201, body=edges.NewNotification, audit="notification.create"),
    Edge("GET", "/notifications/{notification}", get),
    Edge("PATCH", "/notifications/{notification}", update, body=edges.NotificationPatch, audit="notification.update"),
    Edge("DELETE", "/notifications/{notification}", delete, audit="notification.delete"),
    Edge("GET", "/notifications/{notification}/deliveries", deliveries, query=filters.Page),
    Edge("POST", "/notifications/{notification}/retry", retry, audit="notification.retry"),
    Edge("POST", "/notifications/{notification}/test", test, audit="notification.test"),
]
