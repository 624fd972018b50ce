"""The reference pages, out of the tables that the code itself uses."""

from __future__ import annotations

from pathlib import Path

from kubiya_worker.process import metrics
from kubiya_worker.settings import describe
from kubiya_worker.tools import toolset

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"

SETTINGS = """# Settings

Written by `scripts/docs` from `kubiya_worker/settings/table.py`.

A flag wins over the environment, the environment over the file (`~/.kubiya/worker-config.yaml`, or `--config`), the
file over the default. Of several variables the first that is set wins. `kubiya config explain` says where each value
on this host comes from, `kubiya config init` writes a file with every key, `kubiya config validate` checks one,
`kubiya config schema` prints its JSON schema. Times are seconds, or `90s`, `5m`, `1h`. A variable that holds a secret
may instead be given as the name of a file, with `_FILE` behind its name. In the file `${{VAR}}` is a
variable and `${{file:/path}}` what a file holds; a key that is not known is refused with its line.

{table}"""


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


def main() -> None:
    REFERENCE.mkdir(parents=True, exist_ok=True)
    (REFERENCE / "settings.md").write_text(SETTINGS.format(table=describe.reference()))
    (REFERENCE / "skills.md").write_text(SKILLS.format(table=toolset.reference()))
    (REFERENCE / "metrics.md").write_text(METRICS.format(table=metrics.reference()))


if __name__ == "__main__":
    main()
