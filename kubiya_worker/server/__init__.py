"""The local control plane keeps agents, queues, executions, events, sessions and approvals in SQLite, on loopback."""
