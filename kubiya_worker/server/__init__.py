"""The local control plane: agents, queues, executions, events, sessions and approvals, over SQLite, on loopback."""
