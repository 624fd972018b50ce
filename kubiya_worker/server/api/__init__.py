"""This package holds the routes, one module per resource."""
