"""`kubiya notifications`: test, deliveries, retry, against a channel that is a real server."""

from __future__ import annotations

import ipaddress

from kubiya_worker.server.notify.settings import NotifySettings
from tests.support.api import Api
from tests.support.commands import Commands
from tests.support.receiver import Receiver


def test_a_channel_is_tested_and_its_deliveries_are_listed(plane: Api, kubiya: Commands) -> None:
    plane.plane.notifier.use(NotifySettings((ipaddress.ip_network("127.0.0.0/8"),), "http://cp"))
    with Receiver() as receiver:
        channel = {"type": "ntfy", "url": receiver.url, "topic": "t"}
        plane.call("POST", "/notifications", {"name": "on call", "channel": channel, "events": ["run_failed"]})
        assert kubiya("notifications", "deliveries", "on call").err == "Nothing was delivered yet.\n"
        assert kubiya("notifications", "test", "on call").out == "The channel took the message.\n"
        receiver.answers.append(503)
        told = kubiya("notifications", "test", "on call", code=69).err
        assert "The channel did not take the message: 127.0.0.1 answers 503" in told
        lines = kubiya("notifications", "deliveries", "on call", "-o", "table").out.splitlines()
        assert lines[0].split()[:4] == ["ID", "EVENT", "STATE", "TRIES"]
        assert " dead " in lines[1] and "answers 503" in lines[1] and " sent " in lines[2]
        listed = kubiya("notifications", "ls", "-o", "table").out.splitlines()
        assert listed[0].split()[:5] == ["NAME", "CHANNEL", "EVENTS", "WAITING", "DEAD"] and " ntfy " in listed[1]
        assert kubiya("notifications", "retry", "on call").out == "1 to be tried again.\n"
    metrics = plane.ask("GET", "//metrics").text
    assert 'kubiya_control_plane_notifications_sent_total{channel="ntfy"} 1' in metrics
    assert 'kubiya_control_plane_notifications_failed_total{channel="ntfy"} 1' in metrics
    assert 'kubiya_control_plane_notification_deliveries{state="waiting"} 1' in metrics
