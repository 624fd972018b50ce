"""This module models what people wish of workers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kubiya_worker.server.edges.base import Strict


class NewWish(Strict):
    """Say why a worker is to drain, to take work again, or to be started again; the worker logs it."""

    reason: Annotated[str, Field(max_length=200)] | None = None
