"""What can be wrong on this host, looked at one thing at a time; each finding says the command that mends it.

`check` has the words, `checks` the whole list for `kubiya doctor`, `brief` what every start looks at. Nothing is
imported here: a start must not wait for what only the whole list needs.
"""
