"""What Temporal is given to keep: compressed, encrypted, stored elsewhere. For all who write or read histories.

A worker and the control plane that starts its executions need the same `Options`: what one of them has encrypted, the
other one has to read.
"""
