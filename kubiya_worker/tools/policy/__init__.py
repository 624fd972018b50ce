"""Policy: rules and an external service, which decide whether a tool call may run."""
