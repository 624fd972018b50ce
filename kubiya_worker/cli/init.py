"""`kubiya init`: write a commented example of an agent with a skill, a rule and a job."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import click

from kubiya_worker.cli import completion
from kubiya_worker.errors import UsageError

EXAMPLE: Final = """\
# An agent, a rule about it and a job that starts it. Make them so:   kubiya apply -f {name}
# What would change:   kubiya diff -f {name}      All fields:   docs/definitions.md

kind: Agent
name: disk-watcher
spec:
  description: Finds out what fills a disk
  # The demo model is offline, and no LLM. Take the line out to ask the worker's default model;
  # `kubiya models ls` lists what there is.
  model_id: demo
  system_prompt: |
    You are a careful system administrator. Find out what fills the disks,
    the biggest first. Change nothing unless you were asked to.
  skills:
    - type: shell
      configuration:
        # Only these programs can be started, and no shell reads the command.
        allowed_commands: [df, du, find, ls, stat, sort, head]
    - type: file_system
  configuration:
    budgets:
      max_steps: 30          # model calls and tool calls of a run
---
kind: Rule
name: ask before files change
spec:
  description: A person approves each file that an agent writes
  scope_type: tool           # tool, risk_level, category or all
  scope_value: save_file
  action: ask                # ask, allow or deny
---
kind: Job
name: disks every morning
spec:
  agent: disk-watcher
  trigger_type: cron         # cron, webhook or manual
  cron_schedule: "0 6 * * 1-5"
  cron_timezone: UTC
  prompt_template: Which disks are more than 80 % full, and what fills them?
"""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", default="kubiya.yaml", shell_complete=completion.files)
@click.option("--force", is_flag=True, help="Overwrite a file that exists.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of a document, for editors, and write no file.")
def init(file: str, force: bool, schema: bool) -> None:
    """Write a commented example of definitions to FILE: an agent with skills, a rule and a job.

    Example: kubiya init && kubiya apply -f kubiya.yaml
    """
    if schema:
        from kubiya_worker.server import definition_reference  # imports the models, which the example does not need

        print(json.dumps(definition_reference.schema(), indent=1))
        return
    path = Path(file).expanduser()
    try:
        with path.open("w" if force else "x", encoding="utf-8") as target:
            target.write(EXAMPLE.replace("{name}", path.name))
    except FileExistsError as error:
        raise UsageError(f"{file} exists", remedy="Give another name, or --force to overwrite it") from error
    except OSError as error:
        raise UsageError(
            f"{file} cannot be written: {error.strerror}", remedy="Check the folder and the disk"
        ) from error
    print(f"{file} was written. Edit it, then run: kubiya apply -f {file}", file=sys.stderr)
