"""Kubiya Worker: AI agents and agent teams as durable Temporal workflows."""

__version__ = "0.1.0"
