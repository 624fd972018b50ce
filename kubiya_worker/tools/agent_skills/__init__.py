"""Folders of the Agent Skills standard (SKILL.md, scripts, references, assets), offered to the model on demand."""
