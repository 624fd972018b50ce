"""Skill `http`: fetching from web servers, and the addresses that a fetch may reach."""
