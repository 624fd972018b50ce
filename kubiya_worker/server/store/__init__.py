"""Rows: one module per noun."""
