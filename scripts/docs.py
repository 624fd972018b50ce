"""The reference pages and what the Helm chart has of them, out of the tables that the code itself uses."""

from __future__ import annotations

from pathlib import Path

from kubiya_worker import __version__, errors
from kubiya_worker.cli import completion
from kubiya_worker.cli import reference as command_line
from kubiya_worker.process import metrics
from kubiya_worker.protocol import event_shapes
from kubiya_worker.server import definition_reference
from kubiya_worker.settings import describe
from kubiya_worker.tools import toolset
from scripts import chart, error_lines

DOCS = Path(__file__).parents[1] / "docs"

SETTINGS = """# Settings

Written by `scripts/docs` from `kubiya_worker/settings/table.py`.

A flag wins over the environment, the environment over the file (`~/.kubiya/worker-config.yaml`, or `--config`), the
file over the default. Of several variables the first that is set wins. `kubiya config explain` says where each value
on this host comes from, `kubiya config init` writes a file with every key, `kubiya config validate` checks one,
`kubiya config schema` prints its JSON schema. Times are seconds, or `90s`, `5m`, `1h`. A variable that holds a secret
may instead be given as the name of a file, with `_FILE` behind its name. In the file `${{VAR}}` is a
variable and `${{file:/path}}` what a file holds; a key that is not known is refused with its line.

Where no API key is given at all, key and URL are those of the current context of the Kubiya CLI's own configuration,
`~/.kubiya/config` or what `KUBIYA_CONFIG` names. `KUBIYA_NON_INTERACTIVE=true` keeps `kubiya exec` from asking
anything, as where there is no terminal.

{table}
## Not for this worker

What the published Kubiya CLI and worker take and this one has no use for. A flag is refused with exit code 64. A
variable is *refused* (78) where the worker would be another one than was asked for; otherwise it is *told*: in one line
when the worker starts, and by `kubiya doctor`. `--no-webui` is taken: a worker has no web page.

{foreign}"""


METRICS = """# Metrics

Written by `scripts/docs` from `kubiya_worker/process/metrics.py`.

`KUBIYA_METRICS_PORT` (or `--metrics-port`) opens one port for `/metrics` (Prometheus), `/healthz` and `/readyz`;
without it nothing listens. It binds 127.0.0.1 unless `KUBIYA_METRICS_HOST` says otherwise; the container image says
0.0.0.0. `/healthz` is 503 when only a restart helps (the event loop is blocked, or Temporal answers and the worker
does not poll), `/readyz` while the worker takes up no work; both agree with the probe files and the heartbeat. The
figures of Temporal's SDK (`temporal_…`) are on the same page. A Grafana dashboard and alert rules are in
`deploy/grafana` and `deploy/alerts`.

{table}"""


SKILLS = """# Skills and their keys

Written by `scripts/docs` from the tables in `kubiya_worker/tools/`. How to use and to write them:
[skills](../skills.md).

In brackets: the default. A key that is not known, or a value that does not fit, refuses the execution when it starts,
with the skill, the key and what would be right. `null` stands for the default.

{table}"""


CLI = """# The command line

Written by `scripts/docs` from the commands themselves. The same is in the man page, `man kubiya`, where the package is
installed. What each exit code means: [exit codes](exit-codes.md). What else sets an option: [settings](settings.md).

{table}"""


EXIT_CODES = """# Exit codes

Written by `scripts/docs` from `kubiya_worker/errors.py`. From 64 on they are those of sysexits.h.

{table}
"again" says whether the supervisor, or systemd under `kubiya worker install-service`, starts a worker that ended so
once more, after a growing delay. Any other code, and any signal, counts as a crash and is started again. A child that
signal n ended counts as 128 + n.

## Errors as JSON

A command that fails with a code of 64 or more says why in one line on standard error, and nothing on standard output.
With `-o json` or `--json` the line is an object:

```json
{{"error": {{"message": "The queue 'nope' is not known", "exit_code": 64, "remedy": "See kubiya queues ls"}}}}
```

`remedy` is there where something is known to help, `status` where an HTTP answer was the reason, and `problems` where
several fields or lines are wrong. Other lines on standard error, such as a worker's log, are no JSON.

{commands}"""

ERRORS = """# Error lines

Written by `scripts/docs` from the code: every line in which a command or a worker ends when something is wrong. It is
printed to stderr as `kubiya: <line>. <what to do>`, by a worker as `kubiya worker: …`. Words in capitals, and `…`,
stand for what differs. A traceback is a bug; `KUBIYA_DEBUG=true` shows one. What most of them mean in practice:
[troubleshooting](../troubleshooting.md).

{table}"""


EVENTS = """# Events of an execution

Written by `scripts/docs` from `kubiya_worker/protocol/event_shapes.py`; a test compares real events with it.

`GET /api/v1/executions/ID/stream` sends them as server-sent events, `GET /api/v1/executions/ID/events?after=N` as one
list. They are numbered 1, 2, 3 … within an execution; the `id` of a frame is `<execution>_<number>_<microseconds>`, and
with `Last-Event-ID` the stream goes on behind it ([the local control plane](../control-plane.md)). Each type here is a
frame's `event`; its `data` is `{{"data": {{…}}, "timestamp": "…"}}` with the fields below inside, except that `status`,
`done`, `approval_resolved`, messages of the history and what the stream itself makes have them directly.

Chunks of a message come before the message, `tool_started` before its `tool_completed`. A client may meet types and
fields that it does not know, and leaves them be.

{table}
## Of a team's member

Every event of a member's run holds besides:

{member}"""


DEFINITIONS = """# Fields of definitions

Written by `scripts/docs` from `kubiya_worker/server/edges/manifests.py`. How to use them:
[definitions](../definitions.md).

Each document has `kind`, `name` and `spec`; these are the fields of `spec`, and of the objects in it. In brackets
stands what holds when a field is absent. `kubiya explain agent.llm_config` tells the same in a terminal, and
`kubiya init --schema` prints a JSON schema for editors.

{table}"""


BY_COMMAND = (
    (
        "kubiya exec",
        "0 completed; 1 failed, or ended by somebody else; 75 it goes on and nobody watches; 130 cancelled",
    ),
    (
        "kubiya worker start -d",
        "0 it polls; 75 one of this queue runs already, or it does not poll yet and goes on trying",
    ),
    ("kubiya worker stop", "0 nothing of it is left; 1 there was nothing to stop, or it had to be killed"),
    ("kubiya worker drain", "0 all that ran has finished; 1 no worker runs; 75 steps were cut off, or it died"),
    ("kubiya worker status", "0 it is supervised; 1 there is no PID file; 3 its PID file is stale"),
    ("kubiya doctor", "0 nothing failed; 1 a check failed"),
    (
        "python -m kubiya_worker._supervisor",
        "64 the spec cannot be used; 73 another holds the PID file; 74 a file cannot be made",
    ),
)


def pages() -> dict[Path, str]:
    """Every file that is written, by its path."""
    reference = DOCS / "reference"
    return {
        reference / "settings.md": SETTINGS.format(table=describe.reference(), foreign=describe.foreign_reference()),
        reference / "skills.md": SKILLS.format(table=toolset.reference()),
        reference / "metrics.md": METRICS.format(table=metrics.reference()),
        reference / "cli.md": CLI.format(table=command_line.markdown()),
        reference / "exit-codes.md": EXIT_CODES.format(table=errors.reference(), commands=by_command()),
        reference / "events.md": EVENTS.format(table=event_shapes.reference(), member=event_shapes.member_reference()),
        reference / "definitions.md": DEFINITIONS.format(table=definition_reference.reference()),
        reference / "errors.md": ERRORS.format(table=error_lines.reference()),
        DOCS.parent / "kubiya_worker" / "cli" / "kubiya.1": command_line.man(__version__),
        **{
            DOCS.parent / "kubiya_worker" / "cli" / "shells" / shell / name: completion.code(shell) + "\n"
            for shell, name in (("bash", "kubiya"), ("zsh", "_kubiya"), ("fish", "kubiya.fish"))
        },
        **chart.pages(),
    }


def by_command() -> str:
    rows = [
        "| command | its own use of a code |",
        "|---|---|",
        *(f"| `{name}` | {text} |" for name, text in BY_COMMAND),
    ]
    return "\n".join(rows) + "\n"


def main() -> None:
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
