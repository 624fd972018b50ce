"""Hooks: what monitors and forges send, brought into one form, and what is done about it."""
