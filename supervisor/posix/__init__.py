"""This package is the ground: processes, signals, PID files and the notify protocol of a Unix host.

The supervisor stands on it, and `kubiya_worker` may import it as `kubiya_worker._supervisor.posix`; it imports neither.
It needs the standard library only, and psutil where there is no /proc.
"""
