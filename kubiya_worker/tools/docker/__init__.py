"""Skill `docker`: containers, images, volumes and networks of a Docker engine."""
