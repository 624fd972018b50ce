"""The wire of OpenAI-compatible endpoints: what their servers really send, read once into one clean answer.

framing.py reads bytes as events, answer.py puts chunks together, reading.py joins the two for a session, outgoing.py
writes an answer back as the next request holds it. All but reading.py and framing.py are pure.
"""
