"""Commands that outlive the worker: each has a keeper process, and a folder with its output and its outcome.

`folder` is what keeper and workers know of a command, `output` what it has written, `keeper` the program. `starting`
starts it at most once, and `stopping` ends it. The skill's tools are in `tools/shell/long_tools.py`.
"""
