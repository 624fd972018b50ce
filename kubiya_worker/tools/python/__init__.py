"""Skill `python`: running a model's Python in an interpreter of its own."""
