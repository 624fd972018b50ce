"""This module leaves out the SDK's walks through the payloads of a workflow task that change nothing.

For each task the SDK walks three times through what it received and three times through what it sends, one Python call
for each message and field: for the codec, for storage elsewhere, and for references to it. Without keys, compression
and storage a walk that writes finds nothing to do. Neither does one that reads, unless a payload names a format of the
codec or of storage; those are looked for in the bytes of the whole task. They may be in a text, too, and then the walk
is made for nothing.
"""

from __future__ import annotations

from typing import Final

from temporalio.bridge import worker as bridge
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import DataConverter, _extstore

from kubiya_worker.payloads.codec import ENCRYPTED, ZLIB, Codec

MARKS: Final = (
    ZLIB,
    ENCRYPTED,
    _extstore._REFERENCE_ENCODING,
    _extstore._REFERENCE_MESSAGE_TYPE,
    _extstore._REFERENCE_MARKER_KEY.encode(),
)
_decode: Final = bridge.decode_activation
_encode: Final = bridge.encode_completion


def writes_plain(converter: DataConverter) -> bool:
    """Return True when payloads are sent as the payload converter has made them."""
    codec = converter.payload_codec
    return converter.external_storage is None and isinstance(codec, Codec) and not codec.encodes


async def decode_activation(
    activation: WorkflowActivation, data_converter: DataConverter, decode_headers: bool, storage_concurrency_limit: int
) -> _extstore.StorageOperationMetrics:
    """Decode the payloads of a task that was received, if one of them needs it."""
    if writes_plain(data_converter):
        received = activation.SerializeToString()
        if not any(mark in received for mark in MARKS):
            return _extstore.StorageOperationMetrics()
    return await _decode(activation, data_converter, decode_headers, storage_concurrency_limit)


async def encode_completion(
    completion: WorkflowActivationCompletion,
    data_converter: DataConverter,
    encode_headers: bool,
    storage_concurrency_limit: int,
) -> _extstore.StorageOperationMetrics:
    """Encode the payloads of a task's answer, unless they are sent as they are."""
    if writes_plain(data_converter):
        return _extstore.StorageOperationMetrics()
    return await _encode(completion, data_converter, encode_headers, storage_concurrency_limit)


def leave_out_idle_walks() -> None:
    """Put these functions in the place of the SDK's, which has no option for it; a test says when it changes."""
    bridge.decode_activation = decode_activation
    bridge.encode_completion = encode_completion
