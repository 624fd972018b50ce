"""This module does for hooks what no request asks for: runs with a list, and answers that go back.

An answer is stored with the end of its execution and tried until its receiver has it. So it may arrive twice when this
process is killed between the two; a webhook's id is the same at every try.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Sequence
from typing import Final

from kubiya_worker import addresses, templates
from kubiya_worker.errors import WorkerError
from kubiya_worker.event_log import EventLogger
from kubiya_worker.pinned_http import HttpAnswer, exchange, http_errors, lookup
from kubiya_worker.server.api import hook_runs
from kubiya_worker.server.api.hook_deliveries import secret_of
from kubiya_worker.server.hooks.reply_request import NoReply, ReplyRequest, request_of
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.refusals import ApiError
from kubiya_worker.server.store.records import Object
from kubiya_worker.server.store.replies import GIVEN_UP, SENT, WAITING, WaitingReply

log = EventLogger(__name__)

EVERY: Final = 1.0  # seconds between two looks
PATIENCE: Final = 20.0  # seconds of one try
FIRST_WAIT: Final = 2.0  # seconds after the first failure; doubled after each further one
LONGEST_WAIT: Final = 600.0
MOST_TRIES: Final = 60  # about 9 hours
LARGEST_ANSWER: Final = 16_384  # bytes that are read of what the receiver answers
AGAIN: Final = frozenset({408, 425, 429})  # and all from 500 on: the receiver may take it later


async def release(plane: Plane) -> None:
    """Start runs for alerts that came too fast, until cancelled."""
    while True:
        try:
            hook_runs.release(plane)
        except ApiError as error:  # no queue, or all agents are stopped: the next look may succeed
            log.recurring("hooks.held", error=error.detail)
        except Exception as error:  # a full disk, or a bug: the next look may succeed
            log.fault("hooks.release_failed", error)
        await asyncio.sleep(EVERY)


async def send_replies(plane: Plane) -> None:
    """Send answers back, until cancelled."""
    while True:
        try:
            due = plane.stores.replies.due(time.time())
            await asyncio.gather(*(send(plane, one) for one in due))
        except Exception as error:  # a full disk, or a bug: the next look may succeed
            log.fault("hooks.replies_failed", error)
        await asyncio.sleep(EVERY)


async def send(plane: Plane, one: WaitingReply) -> None:
    """Try one reply and store how it went."""
    tries = one.tries + 1
    again, data = await _tried(plane, one)
    if again and tries < MOST_TRIES:
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(one.tries, 20))
        plane.stores.replies.record_try(one.execution_id, WAITING, tries, time.time() + wait, data)
    else:
        state = SENT if data.get("error") is None else GIVEN_UP
        plane.stores.replies.record_try(one.execution_id, state, tries, 0.0, data)
        log.info(f"hook.reply_{state.replace('-', '_')}", execution_id=one.execution_id, tries=tries)


async def _tried(plane: Plane, one: WaitingReply) -> tuple[bool, Object]:
    """Return whether to try again, and {status?, error?} of this try. No secret is in the error."""
    organization = plane.stores.executions.owner(one.execution_id)
    execution = plane.stores.executions.get(organization, one.execution_id) if organization else None
    hook = plane.stores.hooks.find(organization, one.hook_id) if organization else None
    if execution is None or hook is None or not hook.get("reply"):
        return False, {"error": "The hook has no reply any more"}
    try:
        secrets = await _secrets(plane, hook)
        request = request_of(hook, execution, secrets, time.time())
        answer = await _post(request, hook["reply"].get("private_networks") or ())
    except (NoReply, addresses.RequestRefused) as error:
        return False, {"error": str(error)}
    except WorkerError as error:
        return True, {"error": error.message}
    except TimeoutError:
        return True, {"error": f"No whole answer within {PATIENCE:g} s"}
    except OSError as error:
        return True, {"error": f"The receiver cannot be reached ({error.strerror or type(error).__name__})"}
    except http_errors() as error:
        return True, {"error": f"The exchange failed ({type(error).__name__})"}
    if answer.status < 300:
        return False, {"status": answer.status}
    return answer.status in AGAIN or answer.status >= 500, {
        "status": answer.status,
        "error": f"The receiver answered {answer.status}",
    }


async def _secrets(plane: Plane, hook: Object) -> dict[str, str]:
    """Return the values of token, secret and headers. Raises WorkerError for a secret that is not there."""
    reply = hook["reply"]
    wanted = {name: reply[name] for name in ("token", "secret") if reply.get(name)}
    wanted |= {f"headers.{name}": value for name, value in (reply.get("headers") or {}).items()}
    values = {}
    for name in sorted(templates.secrets_in(wanted)):
        value = await secret_of(plane, hook["organization_id"], name)
        if value is not None:
            values[name] = value
    resolved: dict[str, str] = templates.resolve(wanted, {}, f"the reply of the hook {hook['name']}", values)
    return resolved


async def _post(request: ReplyRequest, networks: Sequence[str]) -> HttpAnswer:
    """Send a request to an address that may be reached, by the rules of the skill `http`; follow no redirect."""
    target = addresses.parse(request.url)
    private = tuple(ipaddress.ip_network(name) for name in networks)
    if addresses.is_local_name(target.host) and not private:
        raise addresses.RequestRefused(f"{target.host} is a name of a local network: list it in private_networks")
    async with asyncio.timeout(PATIENCE):
        known = addresses.literal(target.host)
        reachable = [known] if known is not None else await lookup(target.host, target.port)
        addresses.check(target.host, reachable, private)
        return await exchange("POST", target, reachable, request.headers, request.body, LARGEST_ANSWER)
