"""This package has the wire types of worker, local control plane and workflows: no I/O, nothing heavy to import."""
