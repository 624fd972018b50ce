"""A scripted model, and a queue whose worker asks it."""

from tests.support.scripted_model import endpoint as endpoint
from tests.support.scripted_model import queue as queue
