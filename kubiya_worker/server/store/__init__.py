"""This package stores rows, one module per noun."""
