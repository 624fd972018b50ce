"""The control plane builds the model of a request when the first one comes: 130 of them are a tenth of its start."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import kubiya_worker.server.app
from kubiya_worker.server.edges import base, definitions

def below(model):
    for each in model.__subclasses__():
        yield each
        yield from below(each)

models = [each for kind in (base.Strict, base.Filters, base.Wire) for each in below(kind)]
assert len(models) > 100
assert [each.__name__ for each in models if each.__pydantic_complete__] == []
assert definitions.NewAgent.model_validate({"name": "a"}).name == "a"
"""


def test_a_start_builds_no_model_of_a_request() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True, timeout=120)
