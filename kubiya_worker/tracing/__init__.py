"""Traces of executions for OpenTelemetry; off, and without any of its packages loaded, unless an address is set."""
