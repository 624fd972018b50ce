"""The list of checks, in the order in which a person would look."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from kubiya_worker.doctor import host, network
from kubiya_worker.doctor.check import PASS, SKIP, WARN, Check, Finding
from kubiya_worker.doctor.temporal import Probe
from kubiya_worker.errors import WorkerError
from kubiya_worker.models import listing
from kubiya_worker.payloads.converter import Payloads
from kubiya_worker.process.assembly import endpoint_of, routes_of
from kubiya_worker.settings import Settings, foreign
from kubiya_worker.settings.sources import misspelt

HOST, NETWORK, CONTROL_PLANE, TEMPORAL, MODEL = "host", "network", "control plane", "Temporal", "model"


def local_models() -> Finding:
    """Return the model servers that run on this host; their models need no account."""
    found = listing.local_servers()
    if not found:
        return Finding(SKIP, f"no model server on the usual ports of {', '.join(listing.PORTS)}")
    first = found[0].models[0].name
    return Finding(PASS, "; ".join(map(listing.told, found)), f"To use one: kubiya dev --model {first}")


def checks(
    settings: Settings | None, problem: WorkerError | None, home: Path, environ: Mapping[str, str]
) -> tuple[list[Check], Probe | None]:
    """Return all checks; without settings (`problem` is the reason) only those of the host."""

    def look_at_settings() -> Finding:
        if problem is not None:
            raise problem
        assert settings is not None
        Payloads.open(settings.payloads)
        routes_of(settings)
        wrong, others = misspelt(environ), list(foreign.told(environ))
        if wrong or others:
            said = [f"nothing reads {name} (meant: {near}?)" for name, near in wrong.items()]
            for entry in dict.fromkeys(one.entry for one in others):
                said.append(f"{', '.join(one.variable for one in others if one.entry is entry)}: {entry.says}")
            remedies = [f'export {near}="${name}"; unset {name}' for name, near in wrong.items()]
            remedies += dict.fromkeys(one.entry.remedy for one in others)
            return Finding(WARN, "; ".join(said), "; ".join(remedies))
        return Finding(PASS, f"queue {settings.queue_id!r} at {settings.control_plane_url}")

    of_host = [
        Check("python", HOST, host.python),
        Check("packages", HOST, host.packages),
        Check("supervisor", HOST, host.supervisor_name),
        Check("disk", HOST, functools.partial(host.disk, home)),
        Check("inodes", HOST, functools.partial(host.inodes, home)),
        Check("permissions", HOST, functools.partial(host.permissions, home)),
        Check("limits", HOST, host.limits),
        Check("pid files", HOST, functools.partial(host.pid_files, home)),
        Check("venv", HOST, functools.partial(host.venvs, home)),
        Check("docker", HOST, functools.partial(host.docker, environ)),
        Check("settings", HOST, look_at_settings),
    ]
    if settings is None:
        return of_host, None
    of_host.append(Check("folders", HOST, functools.partial(host.places, settings.places(here=False))))
    url = settings.control_plane_url
    probe = Probe(settings)

    def look_at_model() -> Finding:
        assert probe.registration is not None
        routes = routes_of(settings)
        places = {(each.base_url, each.key) for each in routes.values() if each.base_url}
        if routes:
            findings = [network.model(*place) for place in sorted(places)]
            worse = [finding for finding in findings if finding.status != PASS]
            return (
                worse[0] if worse else Finding(PASS, f"{len(routes)} models of the proxy's model_list can be reached")
            )
        endpoint = endpoint_of(settings, probe.registration)
        return network.model(endpoint.base_url, endpoint.api_key)

    of_network = [
        Check("proxy", NETWORK, functools.partial(network.proxy, url)),
        Check("dns", NETWORK, functools.partial(network.dns, url)),
        Check("tls", NETWORK, functools.partial(network.tls, url)),
        Check("health", CONTROL_PLANE, functools.partial(network.control_plane, url)),
        Check("clock", CONTROL_PLANE, functools.partial(network.clock, url), ("health",)),
        Check("api key", CONTROL_PLANE, functools.partial(network.api_key, settings), ("health",)),
        Check("queue", CONTROL_PLANE, functools.partial(network.queue, settings), ("api key",)),
        Check("registration", CONTROL_PLANE, probe.register, ("queue",)),
        Check("poll", TEMPORAL, probe.temporal, ("registration",)),
        Check("endpoint", MODEL, look_at_model, ("registration",)),
        Check("local models", MODEL, local_models),
    ]
    if settings.enforce_enabled:
        of_network.append(Check("policy service", NETWORK, functools.partial(network.policy_service, settings)))
    return of_host + of_network, probe
