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
@queue_option("Without it all workers of this host; else those of this queue")
@click.option("--output", "-o", help="File or folder.  [default: kubiya-support-….tar.gz here]")
@config_file
def bundle(queue_id: str | None, output: str | None, config: str | None) -> None:
    """Pack what helps to find a fault: doctor, settings, state, logs, versions, metrics. Checked to hold no secrets.

    No worker has to run for it. What cannot be read is left out and listed. Look into the file before you send it.
    """
    from kubiya_worker.launch.state import default_folder
    from kubiya_worker.settings import sources
    from kubiya_worker.support import bundle as archive
    from kubiya_worker.support import known, parts

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # an exit that removes the draft
    queue = queue_id or os.environ.get("QUEUE_ID", "").strip() or None
    named = homes.find(queue) if queue else None
    path = archive.place(output, queue)
    found = parts.order(
        [report.examine(h) for h in homes.homes() if named is None or h.queue_folder == named.queue_folder]
    )
    environs = {one.home.label: parts.environ_of(one) for one in found}
    stack = default_folder(os.environ)
    secrets = known.known(
        {"this shell": os.environ, **{label: environ for label, environ in environs.items() if environ}},
        sources.file_of(config),
        homes.workers_folder().parent,
    )
    boxes = containers.find(queue)
    for box in boxes:
        secrets += known.of_container(*containers.given(box, known.is_secrets), f"container {box.name}")
    secrets += [secret for file in (stack / "key",) for secret in known.of_file(file, str(file))]
    _say("examining this host and its connections (up to a minute when nothing answers)")
    outcome, given = _doctor(queue, config, [os.environ, *filter(None, environs.values())])
    secrets = known.unique([*secrets, *(known.Secret(value, "registration") for value in given)])
    hide = archive.hider(secrets)
    share = parts.shares(len(found) + len(boxes))
    todo = [
        parts.Part("doctor.json", "what is wrong here (kubiya doctor --json)", lambda: outcome),
        *parts.of_host(homes.workers_folder().parent, {"queue_id": queue}, os.environ, config),
        *(part for one in found for part in parts.of_worker(one, environs[one.home.label], share)),
        *(part for box in boxes for part in parts.of_container(box, share)),
        *parts.of_stack(stack),
    ]
    packed = archive.members(todo, hide)
    packed.insert(0, archive.manifest(packed, hide, len(secrets)))
    written = archive.write(path, packed, secrets)
    _show(packed, len(secrets))
    print(f"{path}  {size(written)}")


def _doctor(queue: str | None, config: str | None, environs: list[Mapping[str, str]]) -> tuple[str, list[str]]:
    """Return doctor's report as JSON, and the keys that a registration gave.

    The first environment that has the needed settings is used.
    """
    from kubiya_worker.doctor.check import Report, examine
    from kubiya_worker.doctor.checks import checks
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
    made = Report()
    try:
        for _ in examine(todo, made):
            pass
    finally:
        if probe is not None:
            probe.close()
    registration = probe.registration if probe else None
    keys = [registration.temporal_api_key, registration.litellm_api_key] if registration else []
    wire: dict[str, Any] = made.wire()
    return json.dumps(wire, indent=1, ensure_ascii=False) + "\n", [*filter(None, keys)]


def _show(packed: list[Any], secrets: int) -> None:
    for member in packed:
        if not member.missing:
            print(f"  {member.name:44} {size(member.size):>10}  {member.about}")
    missing = [f"{m.name} ({m.missing})" for m in packed if m.missing]
    if missing:
        print(f"not there: {'; '.join(missing)}")
    print(f"{secrets} secrets of this host were looked for, and are not in it; look into it before you send it")


def _say(text: str) -> None:
    click.echo(f"kubiya worker: {text}", err=True)
