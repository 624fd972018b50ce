"""The loop of every execution: one agent works on one task, and on what people say meanwhile and afterwards.

A turn is: `call_model`, then one `call_tool` for each call that the model asked for (in parallel), until it asks for
none; then `end_turn`, where the control plane decides whether the execution is completed or waits for input. Every
finished model or tool call is in the history, so whatever dies, nothing finished is done again.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from kubiya_worker.protocol import calls, compaction, events, names, room, taint
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.workflows import budget, options, outcomes
from kubiya_worker.workflows.conversation import Conversation
from kubiya_worker.workflows.servers import Servers
from kubiya_worker.workflows.state import ModelFailed, TooLong, TurnFailed

MENDED = 2  # times in a turn that a model may correct an answer that does not fit
RESPONSE: Final = 10_000  # characters of the last answer in the failure of a workflow; the row has all of it


class Loop(Servers):
    """The loop that every execution runs. A workflow type adds `run`, which Temporal wants in the class itself."""

    async def execute(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Run the execution and return its result. One that failed fails the workflow, after its last write.

        A member's run has no row and no stream, so it never fails the workflow: its leader reads the result.
        """
        result = await self._executed(raw)
        if self._member is not None or result["status"] == ex.COMPLETED or not workflow.patched("fail-when-failed"):
            return result
        if result["status"] == ex.CANCELLED:  # by a decision of the control plane, not by Temporal's cancellation
            if self._context is None or not self._context.published:
                return result
            raise _closing(self._error or "Cancelled by user", names.BY_USER, result)
        text = self._error or f"The execution is {result['status']}"
        raise _closing(text, self._error_type or str(result["status"]).capitalize(), result)

    async def _executed(self, raw: dict[str, Any]) -> dict[str, Any]:
        try:
            self._input = ex.ExecutionInput.parse(raw)
            self._budgets = ex.Budgets.carried(self._input.agent_config)
            self._member = self._input.member
            self._permitted = self._member.permitted if self._member else 0
            self._behind = list(self._member.behind) if self._member else []
            self._tainted = self._member.tainted if self._member else False
        except (ValueError, TypeError) as error:
            if raw.get("execution_id") and workflow.patched("tell-invalid-input"):
                self._input = ex.ExecutionInput(str(raw["execution_id"]), agent_id="", organization_id="", prompt="")
                await self._close(ex.FAILED, str(error), "InvalidInput")
            raise ApplicationError(str(error), type="InvalidInput", non_retryable=True) from error
        # Never carried on: what the published server puts there is not needed, and a key does not belong in a history.
        self._raw = {key: value for key, value in raw.items() if key not in ("api_key", "control_plane_url", "_resume")}
        try:
            if raw.get("_resume"):
                self._restore(raw["_resume"])
            else:
                await self._begin()
            if self._context and self._context.config:
                self._budgets = ex.Budgets.carried(self._context.config)
            self._initial, self._budgets = self._budgets, budget.raised(self._budgets, self._limits)
            return await self._converse()
        except asyncio.CancelledError:
            await self._cancelled()
            raise
        except outcomes.LOCAL_FAILURE as error:
            if is_cancelled_exception(error):
                await self._cancelled()
                raise
            # The control plane refused a call that the execution needs: it ends and reports why.
            text = outcomes.cause_of(error)
            await self._close(ex.FAILED, text, "Refused")
            raise ApplicationError(text, type="Refused", non_retryable=True) from error

    async def _cancelled(self) -> None:
        """End as cancelled. Raises where clients are told by how the workflow closes (docs/protocol.md#b5).

        The published stream has no terminal event for CANCELED, so the workflow fails there; the row stays cancelled.
        """
        published = await self._close(ex.CANCELLED)
        if published and self._member is None and workflow.patched("fail-when-cancelled"):
            raise _closing("Cancelled by user", names.BY_USER, self._result(ex.CANCELLED))

    async def _begin(self) -> None:
        first: m.Message = {
            "role": "user",
            "content": self._input.prompt,
            "message_id": names.user_message_id(self._input.execution_id, 1),
            "timestamp": self._input.initial_message_timestamp or workflow.now().isoformat(),
            **{k: v for k, v in self._input.user_metadata.items() if k.startswith("user_") and v},
        }
        begun = await self._lasting(
            names.BEGIN_EXECUTION,
            calls.BeginInput(raw=self._raw, first_message=first),
            result_type=calls.BeginResult,
        )
        self._context = begun.context
        self._refusal = begun.failure
        mode = begun.context.taint
        self._tainted |= begun.tainted or taint.inherited(mode, begun.session)
        self._tainted |= taint.prompted(mode, self._input.user_metadata)
        waiting, self._conversation = self._conversation.inbox, Conversation(begun.session)
        self._conversation.stored = begun.stored
        self._texts = begun.texts
        self._sent += room.BEGIN if self._member is None else room.LIMIT - (self._member.room or 0)
        for message in [first, *waiting]:
            self._conversation.receive(message)
        self._status = ex.RUNNING
        if begun.starting:  # none in a history of a version that waited for them in `begin_execution`
            await self._start_servers(begun)

    async def _converse(self) -> dict[str, Any]:
        """Run turns until the execution is final, and return its result."""
        while True:
            if self._status == ex.WAITING:
                try:
                    await self._renew()
                    await workflow.wait_condition(lambda: bool(self._conversation.inbox) or self._done)
                    if self._conversation.inbox and self._superseded():
                        await self._renew()  # the message is answered by the version that is current by now
                except TurnFailed as error:
                    self._error_type = error.kind
                    return self._result(await self._end_turn("error", str(error)))
                if not self._conversation.inbox:  # marked as done
                    return self._result(await self._end_turn("stop", None))
                await self._report(patch={"status": ex.RUNNING})
                self._status = ex.RUNNING
            failure: str | None = None
            if self._step == 0 and not self._begun_turn:
                self._start_turn()
            try:
                finish = await self._work()
            except TurnFailed as error:
                failure, finish = str(error), error.finish
                self._error_type = error.kind
            status = await self._end_turn(finish, failure)
            if ex.is_final(status) and (status != ex.COMPLETED or self._done or not self._conversation.inbox):
                return self._result(status)
            # Whatever else the control plane says, the same prompt is never run again (docs/protocol.md#b6).
            self._status = ex.RUNNING if self._conversation.inbox else ex.WAITING

    def _start_turn(self) -> None:
        self._turn += 1
        self._repairs = 0
        self._begun_turn = True
        self._tool_records = []
        self._turn_record = {
            "execution_id": self._input.execution_id,
            "turn_number": self._turn,
            "turn_id": f"{self._input.execution_id}_turn_{self._turn}",
            "started_at": workflow.now().isoformat(),
            "usage_before": self._total().wire(),
        }

    async def _work(self) -> str:
        """Make model and tool calls in turn until the model asks for no tool. Return the last finish reason."""
        if self._refusal:
            raise TurnFailed(self._refusal, "Refused")
        while True:
            await self._renew()
            await workflow.wait_condition(lambda: not self._paused or self._done)
            if self._done:
                return "stop"
            self._conversation.take_inbox()
            over = await self._over()
            if over:
                raise TurnFailed(over, "BudgetReached")
            began = workflow.now()
            assert self._context is not None
            if 0 < self._context.compact_at <= self._tokens and await self._compact(fits=True):
                self._worked += (workflow.now() - began).total_seconds()
                continue
            try:
                reply = await self._call_model()
            except TooLong as error:
                if not self._context.compact_at or not await self._compact():
                    raise
                self._shortened = error.guessed
                self._worked += (workflow.now() - began).total_seconds()
                continue
            tool_calls: list[m.ToolCall] = reply.message.get("tool_calls") or []
            self._worked += (workflow.now() - began).total_seconds()
            if tool_calls:
                if self._paused and workflow.patched("pause-before-tools"):  # 0.1.0 paused after them
                    await workflow.wait_condition(lambda: not self._paused or self._done)
                results = await self._call_tools(tool_calls, reply.message)
                if self._answered(results):
                    return "stop"
            elif reply.misfit and not self._conversation.inbox:
                self._ask_to_mend(reply.misfit)
            elif not self._conversation.inbox:
                return reply.finish_reason

    def _ask_to_mend(self, misfit: str) -> None:
        """Tell the model why its answer does not fit the response_format. Raise TurnFailed after `MENDED` times."""
        if self._repairs >= MENDED:
            raise TurnFailed(f"The answer does not fit the response_format, after {MENDED} more tries: {misfit}")
        self._repairs += 1
        self._conversation.append(
            {
                "role": "user",
                "content": f"Your answer does not fit the format that it has to have: {misfit}. Answer again, with the "
                "JSON only.",
                "message_id": f"{self._input.execution_id}_format_{self._turn}_{self._step}",
                "timestamp": workflow.now().isoformat(),
                "user_name": "Kubiya Worker",
            }
        )

    # -- hooks that `Leader` (leader.py) and the team (team.py) override

    def _answered(self, results: list[m.Message]) -> bool:
        """Return True when the results of the tools are the answer, so that the model is not asked again."""
        return False

    async def _delegate(self, request: calls.ToolInput, task: str, delegate: dict[str, Any] | None) -> m.Message:
        raise NotImplementedError

    # -- the model

    async def _call_model(self) -> calls.ModelResult:
        await self._deliver()
        self._step += 1
        self._steps += 1
        message_id = self._text_id()
        try:
            request = self._model_input(message_id, text=True)
            result: calls.ModelResult = await workflow.execute_activity(
                names.CALL_MODEL,
                request,
                result_type=calls.ModelResult,
                activity_id=f"model-{self._turn}-{self._step}",
                **options.MODEL,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            self._usage = self._usage.plus(outcomes.spent(error))
            self._sent += room.FAILED_CALL + int(request.pieces or 0)
            told = outcomes.told(error)
            self._learn(told.get("window"))
            if outcomes.kind_of(error) == names.CONTEXT_OVERFLOW:
                raise TooLong(error) from error
            if told.get("shorten"):
                raise TooLong(error, guessed=True) from error
            raise ModelFailed(error) from error
        self._shortened = False
        self._learn(result.window)
        self._tokens = int(result.usage.get("input_tokens") or 0) + int(result.usage.get("output_tokens") or 0)
        self._conversation.append(result.message)
        self._settle(request, result)
        self._relist(result.relisted)
        self._usage = self._usage.plus(ex.Usage.parse(result.usage))
        self._turn_record.update(model=result.model, model_provider=result.provider)
        return result

    def _learn(self, window: int | None) -> None:
        """Set the size from which the conversation is summarized, from a window in tokens that the endpoint told.

        Nothing is set where summaries are off.

        The window is in the history, in a failure or in a result, so a replay learns the same.
        """
        assert self._context is not None
        if not window or not self._context.compact_at:
            return
        told = compaction.threshold(None, window)
        known = self._context.compact_at
        self._context.compact_at = told if known == compaction.OVERFLOW_ONLY else min(known, told)

    async def _compact(self, *, fits: bool = False) -> bool:
        """Have the beginning of the conversation summarized. Return False when that gains nothing or fails.

        A summary counts as a model call. The budget is checked again before the call for which it was made.
        """
        self._tokens = 0
        keeps_from = compaction.cut(self._conversation.messages)
        if keeps_from is None:
            return False
        await self._deliver()
        self._step += 1
        self._steps += 1
        summary_id = names.summary_message_id(self._input.execution_id, self._turn, self._step)
        try:
            request = self._model_input(summary_id)
            result: calls.ModelResult = await workflow.execute_activity(
                names.COMPACT,
                calls.CompactInput(request, keeps_from, fits),
                result_type=calls.ModelResult,
                activity_id=f"summary-{self._turn}-{self._step}",
                **options.MODEL,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            self._usage = self._usage.plus(outcomes.spent(error))
            workflow.logger.warning("compaction.failed %s", outcomes.cause_of(error))
            return False
        self._conversation.append(result.message)
        self._settle(request, result)
        self._usage = self._usage.plus(ex.Usage.parse(result.usage))
        return True

    def _model_input(self, message_id: str, *, text: bool = False) -> calls.ModelInput:
        base, tail = self._conversation.delta()
        return calls.ModelInput(
            execution_id=self._input.execution_id,
            turn=self._turn,
            step=self._step,
            message_id=message_id,
            base=base,
            tail=tail,
            digest=self._conversation.digest(),
            hold=bool(self._outbox),
            trimmed=bool(self._conversation.stored),
            behind=self._before(),
            tools_version=self._context.tools_version if self._context else 0,
            shortened=self._shortened,
            **self._room(text=text),
        )

    # -- tools

    async def _call_tools(self, tool_calls: list[m.ToolCall], asked_by: m.Message) -> list[m.Message]:
        """Run all calls at the same time. Return their messages in the order of the calls."""
        await self._joined(tool_calls)
        began, waited = workflow.now(), self._waited()
        self._busy_since = (workflow.time(), waited)
        results = await asyncio.gather(*(self._call_tool(call, asked_by) for call in tool_calls))
        for result in results:
            self._conversation.append(result)
        spent = (workflow.now() - began).total_seconds() - (self._waited() - waited)
        self._worked += max(0.0, spent)
        self._busy_since = None
        return results

    async def _call_tool(self, call: m.ToolCall, asked_by: m.Message) -> m.Message:
        """Run one call and return its message, after a person's answer where the policy requires one."""
        arguments: str | None = call["arguments"]
        if len(arguments or "") > calls.INLINE_BYTES:
            arguments = None
        request = calls.ToolInput(
            execution_id=self._input.execution_id,
            tool_execution_id=call["id"],
            tool_name=call["name"],
            message_id=str(asked_by["message_id"]),
            step=self._step,
            arguments=arguments,
            hold=bool(self._outbox),
            behind=self._before(),
            tainted=self._tainted,
            tools_version=self._context.tools_version if self._context else 0,
            cut=call.get("cut", ""),
            **self._room(),
        )
        outcome = await self._run_tool(request, f"tool-{call['id']}")
        while outcome.approval is not None:
            answer = await self._ask(request, outcome.approval)
            if not answer.approved:
                return self._unrun(request, answer.status, f"{call['name']} was not run. {answer.text}")
            await workflow.wait_condition(lambda: not self._paused or self._done)
            request.grant = calls.Grant(answer.approval_id, answer.arguments_hash, answer.approver)
            request.arguments = answer.arguments if answer.arguments is not None else request.arguments
            request.hold, request.behind = bool(self._outbox), self._before()
            outcome = await self._run_tool(request, f"tool-{call['id']}-{answer.approval_id[:8]}")
        if outcome.delegation is not None:
            return await self._delegate(request, outcome.delegation, outcome.delegate)
        assert outcome.message is not None
        self._tainted = self._tainted or outcome.taints
        if outcome.record:
            self._tool_records.append(outcome.record)
        return outcome.message

    async def _run_tool(self, request: calls.ToolInput, activity_id: str) -> calls.ToolOutcome:
        assert self._context is not None
        spec = next((ToolSpec.parse(x) for x in self._context.tools if x["name"] == request.tool_name), None)
        timeout, idempotent = (spec.timeout, spec.idempotent) if spec else (10.0, True)
        unread = 0
        while True:
            try:
                outcome: calls.ToolOutcome = await workflow.execute_activity(
                    names.CALL_TOOL,
                    request,
                    result_type=calls.ToolOutcome,
                    activity_id=activity_id,
                    **options.tool(timeout, idempotent=idempotent),
                )
            except ActivityError as error:
                if is_cancelled_exception(error):
                    raise
                if outcomes.unread(error) and unread < options.UNREAD_ATTEMPTS:
                    unread += 1  # it never began: another worker of the queue may have the key
                    await workflow.sleep(options.UNREAD_PAUSE)
                    continue
                return calls.ToolOutcome(message=self._unrun(request, *outcomes.lost(request, error)))
            self._settle(request, outcome)
            self._relist(outcome.relisted)
            return outcome

    def _unrun(self, request: calls.ToolInput, status: str, text: str) -> m.Message:
        """Return the tool message of a call that no worker ran. Its event goes out with the next report."""
        now = workflow.now().isoformat()
        self._keep(outcomes.tool_completed(request, text, status, now))
        return outcomes.tool_message(request, text, status, now)

    # -- the end of a turn, and of the execution

    async def _end_turn(self, finish: str, failure: str | None) -> str:
        """End the turn: store the session, post the turn, and close the execution if final. Return the next status."""
        assert self._context is not None
        if self._member is not None:
            return await self._end_member(ex.FAILED if failure else ex.COMPLETED, failure)
        forced = ex.FAILED if failure else ex.COMPLETED if self._done else None
        self._error = failure
        now = workflow.now()
        text = self._conversation.last_text()
        before = self._turn_record.get("usage_before") or {}
        used = self._total().minus(ex.Usage.parse(before)).wire()
        record = {k: v for k, v in self._turn_record.items() if k != "usage_before"} | {
            **used,
            "model": self._turn_record.get("model") or self._context.model_id,
            "completed_at": now.isoformat(),
            "finish_reason": finish,
            "response_preview": text[:500],
            "tools_called_count": len(self._tool_records),
            "tools_called_names": [r["tool_name"] for r in self._tool_records],
            "error_message": failure,
        }
        sent, self._outbox = self._outbox, []
        result: calls.TurnResult = await self._lasting(
            names.END_TURN,
            calls.TurnInput(
                execution_id=self._input.execution_id,
                agent_id=self._input.agent_id,
                turn=self._turn,
                messages=self._conversation.rest(),
                first=self._conversation.stored,
                turn_record=record if self._step else {},
                tool_records=self._tool_records,
                events=sent,
                final_fields={
                    "response": text,
                    "error_message": failure,
                    "usage": self._total().wire(),
                    "execution_metadata": {
                        **self._context.metadata,
                        "workflow_completed": True,
                        "total_conversation_turns": self._turn,
                    },
                },
                user_id=self._input.user_metadata.get("user_id"),
                force_status=forced,
                more_input=bool(self._conversation.inbox) and not self._done,
                kind="dynamic" if self._input.definition else self._input.kind,
                behind=self._behind,
                last=self._failure_event(failure),
            ),
            result_type=calls.TurnResult,
        )
        self._turns_ended += bool(self._step)
        self._step, self._begun_turn = 0, False
        self._tool_records = []
        self._status = result.status
        return result.status

    def _failure_event(self, failure: str | None) -> list[events.Event]:
        """Return the `error` event, or none: our own control plane reports it in `done`, and `error` ends a stream."""
        if failure is None or self._context is None or not self._context.published:
            return []
        at = workflow.now().isoformat()
        return [events.failed(self._input.execution_id, failure, self._error_type, at)]

    async def _end_member(self, status: str, failure: str | None) -> str:
        """End a member's run. It has one turn and neither row nor session: its result holds all that it reports."""
        assert self._member is not None
        await self._tell_root()
        sent, self._outbox = self._outbox, []
        records, self._tool_records = self._tool_records, []
        messages = self._conversation.rest() if records else []
        end = calls.MemberEnd(self._input.execution_id, self._member, sent, records, self._behind, messages)
        try:
            await self._lasting(names.END_MEMBER, end)
        except outcomes.LOCAL_FAILURE as error:
            if is_cancelled_exception(error):
                raise
            workflow.logger.warning("end.refused %s", outcomes.cause_of(error))
        self._turns_ended += bool(self._step)
        self._step, self._begun_turn = 0, False
        self._status, self._error = status, failure
        return status

    async def _close(self, status: str, failure: str | None = None, kind: str | None = None) -> bool:
        """End outside of a turn. After a cancellation the control plane keeps the status that it wrote itself.

        Return True when clients learn of the end from the way the workflow closes, as on the published control plane.
        """
        if self._member is not None:
            await self._end_member(status, failure)
            return False
        self._status, self._error, self._error_type = status, failure, kind
        if status == ex.CANCELLED:
            self._error, self._error_type = "Cancelled by user", names.BY_USER
        spent = {"response": self._conversation.last_text(), "usage": self._total().wire()}
        patch = {"status": status, **spent, **({"error_message": failure} if failure else {})}
        report = calls.ReportInput(
            self._input.execution_id,
            self._outbox,
            patch,
            messages=self._conversation.rest(),
            first=self._conversation.stored,
            user_id=self._input.user_metadata.get("user_id"),
            turn=self._turn,
            error_type=kind,
        )
        try:
            told = await self._lasting(names.END_EXECUTION, report)
            return isinstance(told, dict) and bool(told.get("published"))  # 0.1.0 returned nothing
        except outcomes.LOCAL_FAILURE as error:  # refused: clients learn it from how the workflow closes
            workflow.logger.warning("end.refused %s", outcomes.cause_of(error))
            return self._context is not None and self._context.published

    def _result(self, status: str) -> dict[str, Any]:
        result = {
            "success": status == ex.COMPLETED,
            "execution_id": self._input.execution_id,
            "status": status,
            "response": self._conversation.last_text(),
            "usage": self._total().wire(),
            "conversation_turns": self._turns_ended,
        }
        if self._member is not None and self._tainted:
            result["tainted"] = True  # the leader that reads the response is tainted too
        if self._member is not None and self._limited():
            result["events"] = self._sent - room.LIMIT + (self._member.room or 0)
        return {**result, "error": self._error} if self._error else result


def _closing(text: str, kind: str, result: dict[str, Any]) -> ApplicationError:
    """Return the failure with which a workflow closes. Its details carry the result."""
    told = {**result, "response": str(result.get("response") or "")[:RESPONSE]}
    return ApplicationError(text, told, type=kind, non_retryable=True)
