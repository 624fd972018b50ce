"""Read a file that configures models."""

from __future__ import annotations

from pathlib import Path

from kubiya_worker.errors import ConfigurationError


def text_of(path: str) -> str:
    """Return the file's text. Raises ConfigurationError, which names the file and the reason."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"{path} cannot be read: {reason}", remedy="Check the path") from error
