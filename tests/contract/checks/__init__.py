"""The contract: what every client may rely on, of the published control plane and of ours.

Each check holds for both. Where ours is better on purpose, a check says what they have in common, and then, under
`if plane.published`, what the published server does: a worker has to get on with that.
"""

from tests.contract.checks import agents, analytics, approvals, executions, stream, workers, writes
from tests.contract.checks.registry import CHECKS

__all__ = ["CHECKS", "agents", "analytics", "approvals", "executions", "stream", "workers", "writes"]
