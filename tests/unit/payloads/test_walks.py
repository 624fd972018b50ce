"""Walks through the payloads of a workflow task are left out only where they would change nothing."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.bridge import worker as bridge
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import DataConverter, ExternalStorage, _extstore
from temporalio.worker import _workflow

from kubiya_worker.payloads import walks
from kubiya_worker.payloads.codec import ENCRYPTED, ZLIB, Codec
from kubiya_worker.process import assembly
from tests.unit.payloads.test_codec import ONE, plain, ring

OPTIONS: dict[str, Any] = {"storage_concurrency_limit": 1}


def converter(codec: Codec) -> DataConverter:
    return replace(DataConverter.default, payload_codec=codec)


async def received(payload: Payload, codec: Codec) -> Payload:
    """Return what a workflow gets of a payload that the server has sent."""
    activation = WorkflowActivation()
    activation.jobs.add().initialize_workflow.arguments.append(payload)
    await walks.decode_activation(activation, converter(codec), decode_headers=True, **OPTIONS)
    return activation.jobs[0].initialize_workflow.arguments[0]


async def sent(payload: Payload, codec: Codec) -> Payload:
    completion = WorkflowActivationCompletion()
    completion.successful.commands.add().complete_workflow_execution.result.CopyFrom(payload)
    await walks.encode_completion(completion, converter(codec), encode_headers=True, **OPTIONS)
    return completion.successful.commands[0].complete_workflow_execution.result


async def test_a_plain_task_is_not_walked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walks, "_decode", None)
    monkeypatch.setattr(walks, "_encode", None)
    assert await received(plain(b"text"), Codec()) == plain(b"text")
    assert await sent(plain(b"text"), Codec()) == plain(b"text")


async def test_what_another_process_has_encoded_is_read(tmp_path: Path) -> None:
    keys = ring(tmp_path / "keys", f"new {ONE}")
    for codec, encoding in ((Codec(compress=True), ZLIB), (Codec(keys), ENCRYPTED)):
        (encoded,) = await codec.encode([plain(b"x" * 1000)])
        assert encoded.metadata["encoding"] == encoding
        assert await received(encoded, Codec(codec._keys)) == plain(b"x" * 1000)


@pytest.mark.parametrize("compress", [True, False])
async def test_what_is_to_be_encoded_is_encoded(tmp_path: Path, compress: bool) -> None:
    codec = Codec(None if compress else ring(tmp_path / "keys", f"new {ONE}"), compress=compress)
    result = await sent(plain(b"x" * 1000), codec)
    assert result.metadata["encoding"] == (ZLIB if compress else ENCRYPTED)


@pytest.mark.parametrize(
    "metadata",
    [
        {"encoding": _extstore._REFERENCE_ENCODING},
        {"encoding": b"json/protobuf", "messageType": _extstore._REFERENCE_MESSAGE_TYPE},
        {"encoding": b"json/plain", _extstore._REFERENCE_MARKER_KEY: b"true"},
    ],
)
async def test_a_reference_to_storage_that_is_not_configured_is_refused(metadata: dict[str, bytes]) -> None:
    with pytest.raises(RuntimeError, match="TMPRL1105"):
        await received(Payload(metadata=metadata, data=b"{}"), Codec())


def test_with_storage_every_task_is_walked_through() -> None:
    class Driver:
        def name(self) -> str:
            return "driver"

    storage = ExternalStorage(drivers=[Driver()])  # type: ignore[list-item]
    assert walks.writes_plain(converter(Codec()))
    assert not walks.writes_plain(replace(converter(Codec()), external_storage=storage))
    assert not walks.writes_plain(DataConverter.default), "a codec that is not ours may do anything"


def test_the_sdk_still_calls_the_functions_that_are_replaced() -> None:
    """A version of the SDK that calls them in another way needs another way to leave the walks out."""
    source = inspect.getsource(_workflow._WorkflowWorker)
    assert "await temporalio.bridge.worker.decode_activation(" in source
    assert "await temporalio.bridge.worker.encode_completion(" in source
    for theirs, ours in ((walks._decode, walks.decode_activation), (walks._encode, walks.encode_completion)):
        assert list(inspect.signature(theirs).parameters) == list(inspect.signature(ours).parameters)


def test_the_replaced_functions_are_those_of_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "decode_activation", walks._decode)
    monkeypatch.setattr(bridge, "encode_completion", walks._encode)
    walks.leave_out_idle_walks()
    assert (bridge.decode_activation, bridge.encode_completion) == (walks.decode_activation, walks.encode_completion)


def test_an_sdk_that_nobody_has_looked_at_keeps_its_own_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "decode_activation", walks._decode)
    monkeypatch.setattr(assembly, "sdk", "1.36.0")
    assembly.leave_out_idle_walks()
    assert bridge.decode_activation is walks._decode
    monkeypatch.setattr(assembly, "sdk", f"{assembly.SDK_OF_WALKS}0")
    assembly.leave_out_idle_walks()
    assert bridge.decode_activation is walks.decode_activation
