"""Notifications: who is told of what, by which channel, and the sending of it."""
