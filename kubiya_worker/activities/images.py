"""Images of tool results are put into the conversation for one model call.

An image is too large for a history. A tool message names files of the execution's workspace (`images`), and its text
says so; a model that takes images gets the latest of them. An image that was deleted, or is on another host, is left
out, and the model has only the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from kubiya_worker.protocol import messages as m
from kubiya_worker.tools import results

MOST: Final = 8  # images in one request, the latest ones
BYTES: Final = 3_750_000  # bytes of one image: 5 MB in base64, the lowest limit of a provider
ALL_BYTES: Final = 12_000_000  # bytes of all images in a request
DATA: Final = "image_data"  # key of a message, only for the model layer: [(media type, bytes)]


def with_images(messages: Sequence[m.Message], workspace: Path) -> list[m.Message]:
    """Return the conversation with the latest images in it. It reads files, so do not call it on the event loop."""
    shown: list[m.Message] = []
    left, room = MOST, ALL_BYTES
    for message in reversed(messages):
        images: list[tuple[str, bytes]] = []
        for image in _named(message):
            data = results.read(workspace, image["path"], min(BYTES, room)) if left > 0 else None
            if data:
                images.append((image["type"], data))
                left, room = left - 1, room - len(data)
        shown.append({**message, DATA: images} if images else message)
    return shown[::-1]


def any_images(messages: Sequence[m.Message]) -> bool:
    """Return True when some message names images."""
    return any("images" in message for message in messages)


def _named(message: m.Message) -> list[dict[str, str]]:
    named: Any = message.get("images")
    listed = named if isinstance(named, list) and message.get("role") == "tool" else []
    stored_images = [image for image in listed if isinstance(image, dict) and isinstance(image.get("path"), str)]
    return [image for image in stored_images if image.get("type") in m.IMAGE_TYPES]
