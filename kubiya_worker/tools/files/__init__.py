"""Skills `file_system` and `file_generation`: files below one folder."""
