"""Agents and teams as tools for MCP clients: `kubiya mcp serve`, and `/mcp` of the control plane."""
