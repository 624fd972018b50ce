"""Language models behind one small port (base.py). Importing this package loads no provider."""

from .base import Delta, Endpoint, Model, ModelError, ModelReply, ModelRequest
from .choice import Models

__all__ = ["Delta", "Endpoint", "Model", "ModelError", "ModelReply", "ModelRequest", "Models"]
