"""Other frameworks' durable agents on Temporal, beside ours: the same model endpoint, server, work and run."""
