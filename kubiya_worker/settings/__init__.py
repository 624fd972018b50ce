"""The settings of the worker: one table of options, resolved from flags, environment, file and defaults."""

from kubiya_worker.settings.sources import Origin, origins, resolve
from kubiya_worker.settings.values import Settings

__all__ = ["Origin", "Settings", "origins", "resolve"]
