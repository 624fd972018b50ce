"""This module has what a worker's own activities, workflows and tools import: `tool`, `run_program` and their types.

`extension_loading.py` loads them when the worker starts.
"""

from kubiya_worker.tools.base import ToolContext, ToolResult
from kubiya_worker.tools.custom import tool
from kubiya_worker.tools.extension_programs import run_program

__all__ = ["ToolContext", "ToolResult", "run_program", "tool"]
