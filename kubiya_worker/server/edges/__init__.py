"""This package holds the models of everything that a request can say: bodies and query strings.

Whatever a person sends is either taken or refused with its name (`Strict`, `Filters`). What a worker sends keeps to the
published protocol, which ignores unknown fields (`Wire`).
"""
