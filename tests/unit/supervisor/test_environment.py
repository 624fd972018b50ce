"""The environment block of a process shows no secret after they were overwritten."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, pathlib
from kubiya_worker._supervisor.posix import environment
print(environment.overwrite_secrets())
print(os.environ["KUBIYA_API_KEY"])
print(pathlib.Path("/proc/self/environ").read_bytes().split(b"\\0"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the block, in /proc")
def test_values_of_secret_variables_are_overwritten_and_others_stay() -> None:
    env = {"KUBIYA_API_KEY": "sk-1234", "A": "plain", "KUBIYA_API_KEY_FILE": "/run/key", "db_password": "pw", "Z": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True)
    names, kept, block = done.stdout.splitlines()
    assert names == "['KUBIYA_API_KEY', 'db_password']"
    assert kept == "sk-1234", "the process itself still has it"
    assert "sk-1234" not in block and "b'KUBIYA_API_KEY=*******'" in block and "b'db_password=**'" in block
    assert "b'A=plain'" in block and "b'KUBIYA_API_KEY_FILE=/run/key'" in block and "b'Z=1'" in block
