"""`kubiya approvals`: list and answer the tool calls for which agents need a person's approval."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Final

import click

from kubiya_worker.cli import completion, reason, tables
from kubiya_worker.cli.api.approvals import ApprovalsApi
from kubiya_worker.cli.api.queues import QueuesApi
from kubiya_worker.cli.api.runs import id_for_filter
from kubiya_worker.cli.argument_editor import edit_arguments
from kubiya_worker.cli.connection import connect
from kubiya_worker.cli.moments import age
from kubiya_worker.cli.render import arguments_block, arguments_text, is_question
from kubiya_worker.cli.tables import Cells, field
from kubiya_worker.cli.terminal import Paint, one_line
from kubiya_worker.errors import UsageError

_ARGUMENTS: Final = 'Such as --arguments \'{"command": "df -h"}\''
COLUMNS: Final = (
    *(field("id", most=36), field("tool_name", "TOOL", 30), field("status"), field("risk_level", "RISK")),
    Cells("AGE", lambda row: age(row.get("created_at"))),
    Cells("ARGUMENTS", lambda row: arguments_text(row.get("tool_args")), 60),
    *(field("execution_id", "EXECUTION", wide=True), field("expires_at", "UNTIL", wide=True)),
    Cells("BY", lambda row: row.get("approved_by_email") or row.get("approved_by_name"), wide=True),
)
LIST: Final = tuple(column for column in COLUMNS if column.head in ("ID", "TOOL", "STATUS", "AGE"))


def _still_pending(approval: dict[str, Any]) -> dict[str, Any]:
    """Return the request if it is still open. Raises UsageError if it was answered: a second answer changes nothing."""
    status = str(approval.get("status"))
    if status != "pending":
        if status == "expired":
            raise UsageError("This request has expired", remedy="If the agent still wants it, it asks again")
        who = approval.get("approved_by_name") or approval.get("approved_by_email")
        raise UsageError(
            f"This request was {one_line(status, 20)} already{f' by {one_line(str(who), 60)}' if who else ''}",
            remedy=f"kubiya approvals show {approval['id']} says what was decided",
        )
    return approval


def _approvers(approval: Mapping[str, Any]) -> str:
    return str((approval.get("approvers") or {}).get("text") or "")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def approvals() -> None:
    """List and answer requests for approval. ID may be the first characters of an id."""


@approvals.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Show answered requests too.")
@click.option("--mine", is_flag=True, help="Only those that you may answer.")
@click.option(
    "--queue", default="", shell_complete=completion.names("queues"), help="Only those of runs on this queue."
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each.")
@tables.output(default=tables.TEXT)
def ls(everything: bool, mine: bool, queue: str, as_json: bool, output: str) -> None:
    """List the requests that wait for an answer, and who may answer them.

    Example: kubiya approvals ls --mine --queue default
    """
    api = connect()
    requests = ApprovalsApi(api).all("" if everything else "pending", id_for_filter(queue, QueuesApi(api).find))
    if mine:
        requests = [approval for approval in requests if approval.get("you_may_answer", True)]
    if output != tables.TEXT:
        tables.show(requests, COLUMNS, output, none="No request waits for approval.")
        return
    if as_json:
        for approval in requests:
            print(json.dumps(approval, ensure_ascii=False))
        return
    nothing = "There are no requests." if everything else "No request waits for approval."
    tables.show_lines(requests, LIST, _below, none=nothing)


def _below(approval: Mapping[str, Any]) -> list[str]:
    """Return what a list says of a request below its row: the arguments, and who may answer where we may not."""
    lines = [one_line(arguments_text(approval.get("tool_args")), 100)]
    if approval.get("you_may_answer") is False:
        lines.append(f"may be answered by {one_line(_approvers(approval), 200)}")
    return lines


@approvals.command()
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="The same as -o json.")
@tables.output(default=tables.TEXT)
def show(id: str, as_json: bool, output: str) -> None:
    """Show one request with all of its arguments.

    Example: kubiya approvals show 3f2a
    """
    approval = ApprovalsApi(connect()).find(id)
    if as_json or output != tables.TEXT:
        tables.show_one(approval, COLUMNS, tables.JSON if as_json else output)
        return
    paint = Paint.for_stream(sys.stdout)
    for name in ("id", "execution_id", "tool_name", "risk_level", "reason", "status", "created_at", "expires_at"):
        if approval.get(name):
            print(f"{paint.dim(f'{name}:')} {one_line(str(approval[name]), 500)}")
    if _approvers(approval):
        print(f"{paint.dim('may be answered by:')} {one_line(_approvers(approval), 500)}")
    print(arguments_block(approval.get("tool_args") or {}, paint, "  "))


@approvals.command()
@click.argument("id")
@reason.option("Reason, stored with the decision.", alias="--comment", value="comment")
@click.option("--remember", is_flag=True, help="Also for the same call later in this execution.")
def approve(id: str, comment: str, remember: bool) -> None:
    """Approve the tool call, so that it runs.

    Example: kubiya approvals approve 3f2a --reason 'as discussed'
    """
    approvals_api = ApprovalsApi(connect())
    approval = _still_pending(approvals_api.find(id))
    if is_question(approval):
        raise UsageError("The agent asks for an answer", remedy=f'kubiya approvals answer {approval["id"]} "…"')
    approvals_api.approve(str(approval["id"]), comment=comment, remember=remember)
    print(f"approved: {one_line(str(approval.get('tool_name')), 60)}, execution {approval.get('execution_id')}")


@approvals.command()
@click.argument("id")
@click.argument("text")
@reason.option()
def answer(id: str, text: str) -> None:
    """Answer an agent's question (TEXT `-`: read the answer from standard input).

    Example: kubiya approvals answer 3f2a 'the second one'
    """
    text = sys.stdin.read() if text == "-" else text
    if not text.strip():
        raise UsageError("The answer is empty", remedy="kubiya approvals deny leaves the question unanswered")
    approvals_api = ApprovalsApi(connect())
    approval = _still_pending(approvals_api.find(id))
    if not is_question(approval):
        raise UsageError("The agent asks for approval, not for an answer", remedy="kubiya approvals approve, or deny")
    approvals_api.approve(str(approval["id"]), answer=text)
    print(f"answered: execution {approval.get('execution_id')}")


@approvals.command()
@click.argument("id")
@reason.option("Reason; the agent reads it.", value="why")
def deny(id: str, why: str) -> None:
    """Deny the tool call, so that it does not run.

    Example: kubiya approvals deny 3f2a --reason 'not on a Friday'
    """
    approvals_api = ApprovalsApi(connect())
    approval = _still_pending(approvals_api.find(id))
    approvals_api.reject(str(approval["id"]), why)
    print(f"denied: {one_line(str(approval.get('tool_name')), 60)}, execution {approval.get('execution_id')}")


@approvals.command()
@click.argument("id")
@click.option("--arguments", help="The new arguments as JSON; `-` reads standard input.  [default: in $EDITOR]")
@reason.option()
def edit(id: str, arguments: str | None) -> None:
    """Change the arguments of the tool call, and approve it with them.

    Example: kubiya approvals edit 3f2a
    """
    edited: dict[str, Any] | None
    if arguments is not None:
        try:
            edited = json.loads(sys.stdin.read() if arguments == "-" else arguments)
        except ValueError as error:
            raise UsageError(f"--arguments is not JSON: {error}", remedy=_ARGUMENTS) from error
        if not isinstance(edited, dict):
            raise UsageError("--arguments is not a JSON object", remedy=_ARGUMENTS)
    approvals_api = ApprovalsApi(connect())
    approval = _still_pending(approvals_api.find(id))
    if arguments is None:
        edited = edit_arguments(approval.get("tool_args") or {})
        if edited is None:
            raise UsageError(
                "Nothing was changed", remedy=f"kubiya approvals approve {approval['id']} runs it as it is"
            )
    approvals_api.approve(str(approval["id"]), arguments=edited)
    print(f"approved with other arguments: {one_line(str(approval.get('tool_name')), 60)}")
