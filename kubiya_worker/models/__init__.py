"""This package puts language models behind one small port (base.py); importing it loads no provider."""

from kubiya_worker.models.base import Delta, Endpoint, Model, ModelError, ModelReply, ModelRequest
from kubiya_worker.models.choice import Models

__all__ = ["Delta", "Endpoint", "Model", "ModelError", "ModelReply", "ModelRequest", "Models"]
