"""A chaos run: random faults while executions run, and the laws that must hold all the same (`scripts/bench/chaos`).

plan      pure: a seed -> what is done, when and for how long
faults    doing it, and undoing it
replicas  the same for several control planes of one PostgreSQL
load      executions without end, their scripted model, the people who approve
witness   runs inside the worker: tools whose every run is counted, numbered log lines
watch     what is seen from outside meanwhile: files, log, processes
clock     a wall clock that can be stepped for this product's processes alone
evidence  what was seen, as values
laws      pure: evidence -> which laws held, how often they were tried, and each breach
run       all of it together
"""
