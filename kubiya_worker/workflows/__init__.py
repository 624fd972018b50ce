"""Deterministic code only: what an execution does next, given what has happened.

Nothing is imported here: the sandbox loads this package anew for each execution, and with it what it imports.
"""
