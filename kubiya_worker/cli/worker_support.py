"""`kubiya worker support-bundle`: pack facts for a helper into one file, without secrets."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kubiya_worker.cli.options import config_file, queue_option
from kubiya_worker.cli.worker_status import size
from kubiya_worker.errors import WorkerError
from kubiya_worker.launch import containers, report
from kubiya_worker.launch import home as homes

if TYPE_CHECKING:
    from kubiya_worker.launch.containers import FoundContainer
    from kubiya_worker.support.known_secrets import Secret
    from kubiya_worker.support.worker_subject import WorkerSubject


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
    from kubiya_worker.support import bundle as archive
    from kubiya_worker.support import bundle_parts, known_secrets
    from kubiya_worker.support.known_secrets import Secret
    from kubiya_worker.support.worker_subject import WorkerSubject

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # an exit that removes the draft
    queue = queue_id or os.environ.get("QUEUE_ID", "").strip() or None
    queue_home = homes.find(queue) if queue else None
    path = archive.output_path(output, queue)
    chosen = [h for h in homes.homes() if queue_home is None or h.queue_folder == queue_home.queue_folder]
    workers = [WorkerSubject.of(each) for each in bundle_parts.order([report.examine(home) for home in chosen])]
    boxes, stack, home = containers.find(queue), default_folder(os.environ), homes.workers_folder().parent
    secrets = _secrets(workers, boxes, stack / "key", config)
    _print_event("examining this host and its connections (up to a minute when nothing answers)")
    environs = [os.environ, *(worker.readable for worker in workers if worker.environ)]
    outcome, registration_keys = _doctor(queue, config, environs)
    secrets = known_secrets.unique([*secrets, *(Secret(value, "registration") for value in registration_keys)])
    hide = archive.secret_remover(secrets, [worker.redaction for worker in workers if worker.redaction])
    share = bundle_parts.shares(len(workers) + len(boxes))
    parts = [
        bundle_parts.Part("doctor.json", "the findings of kubiya doctor --json", lambda: outcome),
        *bundle_parts.of_host(home, {"queue_id": queue}, os.environ, config),
        *(part for worker in workers for part in worker.parts(share, os.environ)),
        *(part for box in boxes for part in bundle_parts.of_container(box, share)),
        *bundle_parts.of_stack(stack),
    ]
    files = archive.members(parts, hide)
    files.insert(0, archive.manifest(files, archive.secret_remover(secrets), len(secrets)))
    written = archive.write(path, files, secrets)
    _print_files(files, len(secrets))
    print(f"{path}  {size(written)}")


def _secrets(
    workers: Sequence[WorkerSubject], boxes: Sequence[FoundContainer], key_file: Path, config: str | None
) -> list[Secret]:
    """Return the secrets of this shell, of the workers and containers, of their files, and of the local stack."""
    from kubiya_worker.settings import sources
    from kubiya_worker.support import known_secrets

    environs = {worker.report.home.label: worker.readable for worker in workers if worker.environ}
    secrets = known_secrets.collect(
        {"this shell": os.environ, **environs}, sources.file_of(config), homes.workers_folder().parent
    )
    for box in boxes:
        variables, contents = containers.environment_of(box, known_secrets.is_secrets)
        secrets += known_secrets.of_container(variables, contents, f"container {box.name}")
    return [*secrets, *known_secrets.of_file(key_file, str(key_file))]


def _doctor(queue: str | None, config: str | None, environs: Sequence[Mapping[str, str]]) -> tuple[str, list[str]]:
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
