"""The list of all checks, in the order in which a person would look for a fault."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path

from kubiya_worker.doctor import host, network, shell_command, units
from kubiya_worker.doctor.check import PASS, SKIP, WARN, Check, Finding
from kubiya_worker.doctor.temporal import Probe
from kubiya_worker.errors import WorkerError
from kubiya_worker.models import listing
from kubiya_worker.payloads.converter import Payloads
from kubiya_worker.process.model_endpoints import endpoint_of, routes_of
from kubiya_worker.settings import Settings, unused_options
from kubiya_worker.settings.sources import misspelled

HOST, NETWORK, CONTROL_PLANE, TEMPORAL, MODEL = "host", "network", "control plane", "Temporal", "model"


def local_models() -> Finding:
    """Return the model servers that run on this host; their models need no account."""
    servers = listing.local_servers()
    if not servers:
        return Finding(SKIP, f"no model server on the usual ports of {', '.join(listing.PORTS)}")
    first = servers[0].models[0].name
    return Finding(PASS, "; ".join(map(listing.summary, servers)), f"To use one: kubiya dev --model {first}")


def settings_finding(settings: Settings | None, problem: WorkerError | None, environ: Mapping[str, str]) -> Finding:
    """Return what is wrong with the settings, and which variables look like misspelt ones. Raises WorkerError."""
    if problem is not None:
        raise problem
    assert settings is not None
    Payloads.open(settings.payloads)
    routes_of(settings, os.environ)
    wrong, unused = misspelled(environ), list(unused_options.found_in(environ))
    if not wrong and not unused:
        return Finding(PASS, f"queue {settings.queue_id!r} at {settings.control_plane_url}")
    faults = [f"{name} is not a known variable (did you mean {near}?)" for name, near in wrong.items()]
    for entry in dict.fromkeys(one.entry for one in unused):
        faults.append(f"{', '.join(one.variable for one in unused if one.entry is entry)}: {entry.says}")
    remedies = [f'export {near}="${name}"; unset {name}' for name, near in wrong.items()]
    remedies += dict.fromkeys(one.entry.remedy for one in unused)
    return Finding(WARN, "; ".join(faults), "; ".join(remedies))


def model_finding(settings: Settings, probe: Probe) -> Finding:
    """Return whether the endpoints of the model_list answer, or else the one that the registration named."""
    assert probe.registration is not None
    routes = routes_of(settings, os.environ)
    if not routes:
        endpoint = endpoint_of(settings, probe.registration)
        return network.model(endpoint.base_url, endpoint.api_key)
    endpoints = {(each.base_url, each.key) for each in routes.values() if each.base_url}
    findings = [network.model(*place) for place in sorted(endpoints)]
    failing = [finding for finding in findings if finding.status != PASS]
    return failing[0] if failing else Finding(PASS, f"{len(routes)} models of the proxy's model_list can be reached")


def checks(
    settings: Settings | None, problem: WorkerError | None, home: Path, environ: Mapping[str, str]
) -> tuple[list[Check], Probe | None]:
    """Return all checks; without settings (`problem` is the reason) only those of the host."""
    of_host = _of_host(settings, home, environ)
    of_host.append(Check("settings", HOST, functools.partial(settings_finding, settings, problem, environ)))
    if settings is None:
        return of_host, None
    probe = Probe(settings)
    return [*of_host, *_of_service(settings), *_of_network(settings, probe)], probe


def _of_host(settings: Settings | None, home: Path, environ: Mapping[str, str]) -> list[Check]:
    # Where other settings are wrong, the variable alone is known; the worker does not start then.
    confinement = settings.confinement if settings else environ.get("KUBIYA_CONFINEMENT", "prefer").strip().lower()
    python_path = settings.python_path if settings else environ.get("PYTHON_PATH", "").strip() or None
    return [
        Check("python", HOST, functools.partial(host.python, python_path)),
        Check("command", HOST, functools.partial(shell_command.finding, environ)),
        Check("packages", HOST, host.packages),
        Check("supervisor", HOST, host.supervisor_package),
        Check("disk", HOST, functools.partial(host.disk, home)),
        Check("inodes", HOST, functools.partial(host.inodes, home)),
        Check("permissions", HOST, functools.partial(host.permissions, home)),
        Check("limits", HOST, host.limits),
        Check("confinement", HOST, functools.partial(host.confinement, confinement)),
        Check("pid files", HOST, functools.partial(host.pid_files, home)),
        Check("venv", HOST, functools.partial(host.venvs, home)),
        Check("docker", HOST, functools.partial(host.docker, environ)),
    ]


def _of_service(settings: Settings) -> list[Check]:
    """Return the checks of the units that run workers of the queue, and of what they let a worker write."""
    keeps, queue = settings.keep_long_commands, settings.queue_id
    return [
        Check("long commands", HOST, lambda: units.long_commands(keeps, units.texts(queue))),
        Check("folders", HOST, functools.partial(host.folders_of_worker, settings.written_folders(here=False))),
    ]


def _of_network(settings: Settings, probe: Probe) -> list[Check]:
    url = settings.control_plane_url
    connections = [
        Check("proxy", NETWORK, functools.partial(network.proxy, url)),
        Check("dns", NETWORK, functools.partial(network.dns, url)),
        Check("tls", NETWORK, functools.partial(network.tls, url)),
        Check("health", CONTROL_PLANE, functools.partial(network.control_plane, url)),
        Check("clock", CONTROL_PLANE, functools.partial(network.clock, url), ("health",)),
        Check("api key", CONTROL_PLANE, functools.partial(network.api_key, settings), ("health",)),
        Check("queue", CONTROL_PLANE, functools.partial(network.queue, settings), ("api key",)),
        Check("notifications", CONTROL_PLANE, functools.partial(network.notifications, settings), ("api key",)),
        Check("registration", CONTROL_PLANE, probe.register, ("queue",)),
        Check("poll", TEMPORAL, probe.temporal, ("registration",)),
        Check("endpoint", MODEL, functools.partial(model_finding, settings, probe), ("registration",)),
        Check("local models", MODEL, local_models),
    ]
    if settings.otlp_endpoint:
        connections.append(Check("tracing", NETWORK, functools.partial(network.collector, settings)))
    if settings.enforce_enabled:
        connections.append(Check("policy service", NETWORK, functools.partial(network.policy_service, settings)))
    return connections
