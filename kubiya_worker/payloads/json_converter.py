"""Values as JSON in payloads: the format of Temporal's own converter, at less cost.

Values are written without a deep copy, and read with types that were looked up once (shapes.py).
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from temporalio.converter import (
    AdvancedJSONEncoder,
    CompositePayloadConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
)

from kubiya_worker.payloads.shapes import SHAPES


class ShallowEncoder(AdvancedJSONEncoder):
    """Encodes a dataclass as its fields; JSON's encoder calls it again for dataclasses inside."""

    def default(self, o: Any) -> Any:
        if is_dataclass(o) and not isinstance(o, type):
            return {field.name: getattr(o, field.name) for field in fields(o)}
        return super().default(o)


_OWN = JSONPlainPayloadConverter(encoder=ShallowEncoder, custom_type_converters=[SHAPES])
_CONVERTERS = CompositePayloadConverter(
    *(
        _OWN if isinstance(one, JSONPlainPayloadConverter) else one
        for one in DefaultPayloadConverter.default_encoding_payload_converters
    )
).converters


class JsonConverter(CompositePayloadConverter):
    """A converter that is cheap to make, because Temporal makes one for every task. It has no state."""

    def __init__(self) -> None:
        self.converters = _CONVERTERS
