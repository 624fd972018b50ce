"""This package reads what OpenAI-compatible servers really send, and makes one clean answer of it.

stray_lines.py and framing.py read bytes as events, answer.py joins chunks, answer_reader.py uses them for a session,
outgoing.py writes an answer back into the next request. All but answer_reader.py and framing.py are pure.
"""
