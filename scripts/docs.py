"""The reference pages, out of the tables that the code itself uses."""

from __future__ import annotations

from pathlib import Path

from kubiya_worker.settings import describe

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


def main() -> None:
    REFERENCE.mkdir(parents=True, exist_ok=True)
    (REFERENCE / "settings.md").write_text(SETTINGS.format(table=describe.reference()))


if __name__ == "__main__":
    main()
