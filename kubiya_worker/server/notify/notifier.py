"""This module tells people what happened: it stores each delivery, and sends it until the channel has it.

A delivery is written in the transaction of its event, so that none is lost. It is counted before each try, and keeps
its id: after a kill in the middle of a try it is sent again, and a channel that knows ids takes it once. Each channel
has a task of its own, so that one that is down or slow holds up nothing else.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from kubiya_worker import templates
from kubiya_worker.errors import WorkerError
from kubiya_worker.event_log import EventLogger
from kubiya_worker.secret_sources import Sources
from kubiya_worker.server.notify import events, quiet, retries
from kubiya_worker.server.notify.channels import TYPES
from kubiya_worker.server.notify.events import Happening
from kubiya_worker.server.notify.letter import Letter, Object
from kubiya_worker.server.notify.outgoing import Outgoing, Undelivered
from kubiya_worker.server.notify.settings import NotifySettings
from kubiya_worker.server.store import notification_deliveries as store
from kubiya_worker.server.store.notification_deliveries import NotificationDelivery
from kubiya_worker.server.stores import Stores

log = EventLogger(__name__)

PATIENCE: Final = 20.0  # seconds for one try
IDLE: Final = 30.0  # seconds between two looks when nothing is due
AFTER_A_BUG: Final = 5.0  # seconds


class Notifier:
    def __init__(
        self,
        stores: Stores,
        sources: Sources,
        *,
        answering: Callable[[Object, str], str | None],
    ) -> None:
        """Take `answering`, which returns the token of a definition's message about a request.

        It returns an empty text where there is no token, and None where the request waits for no answer any more.
        """
        self._definitions, self._deliveries = stores.notifications, stores.notification_deliveries
        self._secrets, self._sources, self._answering = stores.secrets, sources, answering
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self.sent: Counter[str] = Counter()  # by the type of the channel, since this process began
        self.failed: Counter[str] = Counter()  # tries
        self.use(NotifySettings())

    def use(self, settings: NotifySettings) -> None:
        self.url = settings.url
        self.out = Outgoing(settings)

    # -- what is told

    def tell(self, organization_id: str, happening: Happening) -> None:
        """Store a delivery for each definition that wants it; call this in the transaction of what happened."""
        definitions = self._definitions.list(organization_id)
        wanting = [(each, event) for each in definitions if (event := events.wants(each, happening))]
        for definition, event in wanting:
            self.add(definition, happening, event)
        for definition, event in wanting:
            if event in events.WAITING:
                self._add_next(definitions, definition, happening, event)

    def _add_next(self, definitions: list[Object], first: Object, happening: Happening, event: str) -> None:
        """Store deliveries for those who are told when nobody answers; they are dropped when somebody does."""
        by_name = {key: each for each in definitions for key in (each["id"], each["name"])}
        seconds, definition, seen = 0.0, first, {first["id"]}
        while then := definition.get("then"):
            seconds += 60.0 * then["after_minutes"]
            following = by_name.get(then["notification"])
            if following is None or following["id"] in seen:
                return
            definition = following
            seen.add(following["id"])
            if following["enabled"]:
                self.add(following, happening, event, seconds)

    def add(self, definition: Object, happening: Happening, event: str, after: float = 0.0) -> str:
        """Store a delivery, for so many seconds later, and return its id; an empty text where it was told before."""
        now = time.time()
        delivery_id = self._deliveries.add(
            definition["organization_id"],
            definition["id"],
            happening.key,
            happening.data(event),
            now=now,
            due_at=now + after,
            approval_id=happening.approval_id,
        )
        self.wake()
        return delivery_id

    # -- sending

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Send what is due, until cancelled."""
        try:
            while True:
                self._wake.clear()
                try:
                    pause = self._start_due()
                except Exception as error:  # a full disk, or a bug: the next look may succeed
                    log.fault("notifier.failed", error)
                    pause = AFTER_A_BUG
                try:
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            for task in list(self._tasks.values()):
                task.cancel()

    def _start_due(self) -> float:
        """Start a task for each channel that has something due; return the seconds until the next look."""
        now = time.time()
        for channel in self._deliveries.channels_due(now):
            if channel not in self._tasks:
                self._tasks[channel] = asyncio.create_task(self._drain(channel))
        due = self._deliveries.due_at(without=self._tasks)
        return IDLE if due is None else min(IDLE, max(0.0, due - now))

    async def _drain(self, channel: str) -> None:
        try:
            while delivery := self._deliveries.next_due(channel, time.time()):
                await self.attempt(delivery)
        except Exception as error:
            log.fault("notifier.failed", error, notification_id=channel)
            await asyncio.sleep(AFTER_A_BUG)
        finally:
            self._tasks.pop(channel, None)
            self.wake()

    async def attempt(self, delivery: NotificationDelivery) -> None:
        """Try a delivery once, and store what became of it."""
        definition = self._definitions.find(delivery.organization_id, delivery.notification_id)
        if definition is None:
            return  # deleted meanwhile, and its deliveries with it
        until = quiet.held_until(definition.get("quiet_hours"), delivery.data["severity"], time.time())
        if until is not None and delivery.data["event"] != events.TEST:
            self._deliveries.held(delivery, until)
            return
        token = self._answering(definition, delivery.approval_id) if delivery.approval_id else ""
        if token is None:
            self._deliveries.ended(delivery, store.DROPPED, time.time())
            return
        kind, attempts = str(definition["channel"]["type"]), delivery.attempts + 1
        again = retries.delay(attempts, random.random())  # noqa: S311 - spreads tries
        self._deliveries.began(delivery, time.time() + max(again, PATIENCE))
        try:
            async with asyncio.timeout(PATIENCE):
                await TYPES[kind].send(await self._letter(definition, delivery, token), self.out)
        except TimeoutError:
            self._failed(definition, delivery, attempts, Undelivered(f"no answer within {PATIENCE:g} s"), again)
        except Undelivered as error:
            self._failed(definition, delivery, attempts, error, again)
        except WorkerError as error:  # a secret that is not there, or cannot be read now
            self._failed(definition, delivery, attempts, Undelivered(error.message), again)
        except Exception as error:  # a bug must not have it tried for ever
            log.fault("notifier.failed", error, name=definition["name"])
            self._failed(definition, delivery, attempts, Undelivered(f"internal error: {type(error).__name__}"), again)
        else:
            self.sent[kind] += 1
            self._deliveries.ended(delivery, store.SENT, time.time())

    def _failed(
        self, definition: Object, delivery: NotificationDelivery, attempts: int, error: Undelivered, again: float
    ) -> None:
        name, text = definition["name"], str(error)
        self.failed[str(definition["channel"]["type"])] += 1
        once = delivery.data["event"] == events.TEST  # a person waits for the answer
        if error.final or once or retries.is_last(attempts):
            log.warning("notification.dead", name=name, delivery=delivery.id, attempts=attempts, error=text)
            self._deliveries.ended(delivery, store.DEAD, time.time(), text)
            return
        if error.wait:
            again = retries.delay(attempts, 0.5, error.wait)
        log.warning("notification.failed", name=name, delivery=delivery.id, attempts=attempts, error=text)
        self._deliveries.failed(delivery, text, time.time() + again)

    async def _letter(self, definition: Object, delivery: NotificationDelivery, token: str) -> Letter:
        """Return the delivery with the channel's secrets. Raises WorkerError when one cannot be had."""
        channel = await self.filled(definition)
        return Letter(delivery.id, definition["name"], channel, delivery.data, self.url, time.time(), token)

    async def filled(self, definition: Object) -> Object:
        """Return a definition's channel with its secrets. Raises WorkerError when one cannot be had."""
        channel, organization = definition["channel"], definition["organization_id"]
        values: dict[str, str] = {}
        for name in templates.secrets_in(channel):
            secret = self._secrets.value(organization, name)
            if secret is not None:
                value, source = secret
                values[name] = value if value is not None else await asyncio.to_thread(self._sources.read, str(source))
        filled: Object = templates.resolve(channel, {}, f"the notification {definition['name']}", values)
        return filled

    async def settled(self, delivery_id: str) -> NotificationDelivery | None:
        """Send one delivery now and return what became of it; for a person who waits for the answer."""
        delivery = self._deliveries.get(delivery_id)
        if delivery is not None and delivery.state == store.WAITING:
            await self.attempt(delivery)
        return self._deliveries.get(delivery_id)
