"""The checks of this host and its connections, one thing at a time; each finding names the command that fixes it.

`check` has the words, `checks` the whole list for `kubiya doctor`, `brief` what every start looks at. Nothing is
imported here: a start must not wait for what only the whole list needs.
"""
