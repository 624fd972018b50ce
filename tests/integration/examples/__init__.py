"""The files in examples/, applied and run."""
