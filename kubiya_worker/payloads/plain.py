"""Values as JSON in payloads: what Temporal's own converter writes, without a deep copy of every value first."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from temporalio.converter import (
    AdvancedJSONEncoder,
    CompositePayloadConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
)


class ShallowEncoder(AdvancedJSONEncoder):
    """A dataclass as its fields; the encoder comes back for those that are dataclasses themselves."""

    def default(self, o: Any) -> Any:
        if is_dataclass(o) and not isinstance(o, type):
            return {field.name: getattr(o, field.name) for field in fields(o)}
        return super().default(o)


_OWN = JSONPlainPayloadConverter(encoder=ShallowEncoder)
_CONVERTERS = CompositePayloadConverter(
    *(
        _OWN if isinstance(one, JSONPlainPayloadConverter) else one
        for one in DefaultPayloadConverter.default_encoding_payload_converters
    )
).converters


class PlainConverter(CompositePayloadConverter):
    """Made anew for every workflow task and activity; what it is made of has no state."""

    def __init__(self) -> None:
        self.converters = _CONVERTERS
