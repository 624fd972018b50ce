"""Wire types that the worker, the local control plane and the workflows share. No I/O, nothing heavy to import."""
