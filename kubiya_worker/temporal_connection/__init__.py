"""This package secures connections to Temporal, and finds out why one fails, for workers and the control plane."""
