"""Confinement: what the kernel lets a tool's process see and do (docs/security.md).

`landlock` and `seccomp` are the kernel's calls, `profile` reads what a skill declares into a `process_profile`, which
`paths` turns into rules.
`support` says what this host can do, and `spawn` starts processes, with `rulesets` that are kept a while. `seatbelt`
does it on macOS.
"""
