"""A worker follows what people wish of it at the control plane."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kubiya_worker.process.stop import Stop
from kubiya_worker.process.wishes import Wish, Wishes, possible

ADA = {"name": "Ada", "email": "ada@example.org"}
DRAIN: dict[str, Any] = {"wish": {"action": "drain", "by": ADA, "reason": "new  kernel\nsoon"}}
RESTART: dict[str, Any] = {"wish": {"action": "restart", "by": ADA, "reason": ""}}


def test_a_wish_says_who_and_why_on_one_line() -> None:
    assert Wish.parse(DRAIN["wish"]) == Wish("drain", "by Ada: new kernel soon")
    assert Wish.parse(RESTART["wish"]) == Wish("restart", "by Ada")
    others: tuple[Any, ...] = (None, {}, [], {"action": "fly"}, {"by": ADA}, "drain")
    for other in others:
        assert Wish.parse(other) is None


def test_only_what_is_started_again_can_be_restarted() -> None:
    assert possible({}) == ["drain"]
    assert possible({"NOTIFY_SOCKET": "/run/notify"}) == ["drain", "restart"]
    assert possible({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == ["drain", "restart"]


def test_a_drain_holds_until_an_answer_without_it() -> None:
    async def life() -> None:
        wishes = Wishes(Stop(asyncio.get_running_loop(), 1.0))
        await asyncio.to_thread(wishes.heard, DRAIN)
        await asyncio.wait_for(wishes.drain_asked.wait(), 60)
        assert wishes.why == "by Ada: new kernel soon"
        waiting = asyncio.create_task(wishes.lifted())
        await asyncio.to_thread(wishes.heard, DRAIN)
        await asyncio.sleep(0)
        assert not waiting.done()
        await asyncio.to_thread(wishes.heard, {})
        assert await asyncio.wait_for(waiting, 60) is True
        assert not wishes.drain_asked.is_set()

    asyncio.run(life())


def test_a_drained_worker_can_be_stopped() -> None:
    async def life() -> None:
        stop = Stop(asyncio.get_running_loop(), 1.0)
        wishes = Wishes(stop, DRAIN["wish"])
        assert wishes.drain_asked.is_set()
        stop.finish("enough")
        assert await asyncio.wait_for(wishes.lifted(), 60) is False

    asyncio.run(life())


@pytest.mark.parametrize(("supervised", "asked"), [("", False), ("/run/notify", True)])
def test_a_restart_is_a_stop_where_something_starts_it_again(
    supervised: str, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", supervised)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    async def life() -> None:
        stop = Stop(asyncio.get_running_loop(), 1.0)
        Wishes(stop, RESTART["wish"])
        assert (stop.asked.is_set(), stop.hurried.is_set()) == (asked, asked)
        assert stop.reason == ("restart asked by Ada" if asked else "shutdown")

    asyncio.run(life())
