"""The payloads that Temporal keeps: compression, encryption, external storage. For all that use histories.

A worker and the control plane that starts its executions need the same `Options`, because each must read payloads that
the other has encrypted.
"""
