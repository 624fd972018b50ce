"""Skill `shell`: programs of this host without a shell, and the rules for what they may be given."""
