"""Running programs on other hosts through the host's own OpenSSH client."""
