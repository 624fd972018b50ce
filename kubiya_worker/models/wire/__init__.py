"""This package reads what OpenAI-compatible servers really send, and makes one clean answer of it.

stray_lines.py and framing.py read bytes as events, answer.py joins chunks, answer_reader.py uses them for a session,
outgoing.py writes an answer back into the next request. All but answer_reader.py and framing.py are pure.

anthropic_events.py, google_chunks.py and converse_events.py bring what servers of these APIs send into the form that
their packages expect (../native_streams.py).
"""
