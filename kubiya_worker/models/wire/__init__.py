"""This package reads what OpenAI-compatible servers really send, and makes one clean answer of it.

framing.py reads bytes as events, answer.py joins chunks, reading.py uses both for a session, outgoing.py writes an
answer back into the next request. All but reading.py and framing.py are pure.
"""
