"""This package reads what OpenAI-compatible servers really send, and makes one clean answer of it.

framing.py reads bytes as events, answer.py joins chunks, answer_reader.py uses both for a session, outgoing.py writes
an answer back into the next request. All but answer_reader.py and framing.py are pure.
"""
