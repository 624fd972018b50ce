"""The checks of this host and its connections, one thing at a time; each finding names the command that fixes it.

`check` has the types, `all_checks` those of `kubiya doctor`, `quick_checks` those of every start. Nothing is
imported here, because a start must not wait for modules that only the whole list needs.
"""
