"""The payloads that Temporal keeps: compression, encryption, external storage.

Every program that reads histories uses this package. A worker and the control plane that starts its executions need the
same `PayloadOptions`, because each must read payloads that the other has encrypted.
"""
