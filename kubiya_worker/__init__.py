"""Kubiya Worker: AI agents and agent teams as durable Temporal workflows."""

# The one place of the version: setup.cfg reads it here without importing. tests/unit/project/test_version.py names the
# files of deploy/ that repeat it.
__version__ = "1.0.0"
