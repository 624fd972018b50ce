"""`kubiya worker support-bundle`: pack facts for a helper into one file, without secrets."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import click

from kubiya_worker.cli.options import config_file, queue_option
from kubiya_worker.cli.worker_status import size
from kubiya_worker.errors import WorkerError
from kubiya_worker.launch import containers, report
from kubiya_worker.launch import home as homes


@click.command("support-bundle")
@queue_option("Only workers of this queue; without it all of this host")
@click.option("--output", "-o", help="File or folder.  [default: kubiya-support-….tar.gz here]")
@config_file
def bundle(queue_id: str | None, output: str | None, config: str | None) -> None:
    """Pack facts for support into one file: doctor, settings, state, logs, versions, metrics. It holds no secrets.

    No worker has to run for it. What cannot be read is left out and listed. Look into the file before you send it.

    Example: kubiya worker support-bundle --queue-id default
    """
    from kubiya_worker.launch.stack_folder import default_folder
    from kubiya_worker.settings import sources
    from kubiya_worker.support import bundle as archive
    from kubiya_worker.support import bundle_parts, known_secrets

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # an exit that removes the draft
    queue = queue_id or os.environ.get("QUEUE_ID", "").strip() or None
    queue_home = homes.find(queue) if queue else None
    path = archive.output_path(output, queue)
    reports = bundle_parts.order(
        [report.examine(h) for h in homes.homes() if queue_home is None or h.queue_folder == queue_home.queue_folder]
    )
    environ_by_worker = {one.home.label: bundle_parts.environ_of(one) for one in reports}
    environs = {
        label: {name: value for name, value in environ.items() if not bundle_parts.is_overwritten(value)}
        for label, environ in environ_by_worker.items()
        if environ
    }
    addresses = {one.home.label: str(one.live_status.get("redaction") or "") for one in reports}
    unknown = {
        label: [] if addresses[label] else bundle_parts.unknown_secrets(environ or {}, os.environ)
        for label, environ in environ_by_worker.items()
    }
    stack = default_folder(os.environ)
    secrets = known_secrets.collect(
        {"this shell": os.environ, **environs},
        sources.file_of(config),
        homes.workers_folder().parent,
    )
    boxes = containers.find(queue)
    for box in boxes:
        secrets += known_secrets.of_container(
            *containers.environment_of(box, known_secrets.is_secrets), f"container {box.name}"
        )
    secrets += [secret for file in (stack / "key",) for secret in known_secrets.of_file(file, str(file))]
    _print_event("examining this host and its connections (up to a minute when nothing answers)")
    outcome, registration_keys = _doctor(queue, config, [os.environ, *environs.values()])
    secrets = known_secrets.unique(
        [*secrets, *(known_secrets.Secret(value, "registration") for value in registration_keys)]
    )
    hide = archive.secret_remover(secrets, [*filter(None, addresses.values())])
    share = bundle_parts.shares(len(reports) + len(boxes))
    todo = [
        bundle_parts.Part("doctor.json", "the findings of kubiya doctor --json", lambda: outcome),
        *bundle_parts.of_host(homes.workers_folder().parent, {"queue_id": queue}, os.environ, config),
        *(
            part
            for one in reports
            for part in bundle_parts.without_logs(
                bundle_parts.of_worker(one, environ_by_worker[one.home.label], share), unknown[one.home.label]
            )
        ),
        *(part for box in boxes for part in bundle_parts.of_container(box, share)),
        *bundle_parts.of_stack(stack),
    ]
    files = archive.members(todo, hide)
    files.insert(0, archive.manifest(files, archive.secret_remover(secrets), len(secrets)))
    written = archive.write(path, files, secrets)
    _print_files(files, len(secrets))
    print(f"{path}  {size(written)}")


def _doctor(queue: str | None, config: str | None, environs: list[Mapping[str, str]]) -> tuple[str, list[str]]:
    """Return doctor's report as JSON, and the keys that a registration gave.

    The first environment that has the needed settings is used.
    """
    from kubiya_worker.doctor.all_checks import checks
    from kubiya_worker.doctor.check import Report, examine
    from kubiya_worker.settings import Settings, resolve

    settings: Settings | None = None
    problem: WorkerError | None = None
    environ = environs[0]
    for each in environs:
        try:
            settings, environ = resolve({"queue_id": queue}, each, config), each
            break
        except WorkerError as error:
            problem = problem or error
    todo, probe = checks(settings, problem, homes.workers_folder().parent, environ)
    doctor_report = Report()
    try:
        for _ in examine(todo, doctor_report):
            pass
    finally:
        if probe is not None:
            probe.close()
    registration = probe.registration if probe else None
    keys = [registration.temporal_api_key, registration.litellm_api_key] if registration else []
    wire: dict[str, Any] = doctor_report.wire()
    return json.dumps(wire, indent=1, ensure_ascii=False) + "\n", [*filter(None, keys)]


def _print_files(packed: list[Any], secrets: int) -> None:
    for member in packed:
        if not member.missing:
            print(f"  {member.name:44} {size(member.size):>10}  {member.about}")
    missing = [f"{m.name} ({m.missing})" for m in packed if m.missing]
    if missing:
        print(f"not there: {'; '.join(missing)}")
    print(f"{secrets} secrets of this host were searched for, and none is in it; look into the file before you send it")


def _print_event(text: str) -> None:
    click.echo(f"kubiya worker: {text}", err=True)
