"""The control plane's API as a person's commands use it: one class for each noun, over one `Api`."""
