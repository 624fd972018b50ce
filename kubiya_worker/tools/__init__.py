"""Tools: what an agent can do. A skill of one file is a module here, one of several files is a package."""
