"""Secret variables leave the environment, and only code that knows their names reads them."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from kubiya_worker import aws
from kubiya_worker.process.redaction import secrets_in
from kubiya_worker.process.sealed_variables import is_secret, seal
from kubiya_worker.support import known_secrets

SECRETS = {
    "KUBIYA_API_KEY": "kby_1234567890abcdef",
    "OPENAI_API_KEY": "sk-openai",
    "ANTHROPIC_API_KEY": "ant-1",
    "GEMINI_API_KEY": "AIza-1",
    "LITELLM_API_KEY": "gateway-1",
    "AWS_ACCESS_KEY_ID": "AKIA-1",
    "AWS_SECRET_ACCESS_KEY": "wJalr",
    "AWS_SESSION_TOKEN": "session-1",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN": "container-1",
    "AWS_BEARER_TOKEN_BEDROCK": "bedrock-1",
    "ENFORCER_API_KEY": "enforcer-1",
    "KEY_OF_A_ROUTE": "route-1",
    "DB_PASSWORD_PROD": "production-1",
    "OPENAIKEY": "one-word-1",
    "COSMOS_PRIMARY_KEY": "C2y6yDjf5R9ob0N8A7Cgv30VRDJIWEHLM4pDQ5nObd0JKrbUkY1x5fB8eT2qA==",
    "KUBIYA_MODEL_HEADER_TENANT": "tenant-1",
    "KUBIYA_PROXY_CONFIG_JSON": '{"model_list": []}',
    "DATABASE_URL": "postgres://app:hunter22@db/app",
    "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer sk-0123456789abcdefghij",
}
OPEN = {
    "PATH": "/usr/bin",
    "AWS_REGION": "eu-west-1",
    "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
    "KUBIYA_API_KEY_FILE": "/run/key",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/run/token",
    "HTTPS_PROXY": "http://user:password@proxy:3128",  # Temporal's core reads it by itself
    "GOOGLE_APPLICATION_CREDENTIALS": os.devnull,
    "PARTITION_KEY": "customer_id",
    "PRIMARY_KEY": "customer_id",
    "SORT_KEY": "ordered_at",
    "KEYBOARD_LAYOUT": "english",
    "PRIVATE_SUBNET": "subnet-0abc123",
    "MAX_TOKENS": "100000",
    "TOKENIZERS_PARALLELISM": "false",
}


def test_secrets_are_moved_and_the_rest_stays() -> None:
    environ = {**SECRETS, **OPEN}
    variables = seal(environ)
    assert environ == OPEN
    assert set(variables.names) == SECRETS.keys()
    assert {name: variables[name] for name in variables} == {**SECRETS, **OPEN} and len(variables) == 33
    assert variables.get("NOT_THERE") is None
    environ["LATER"] = "1"
    assert variables["LATER"] == "1", "what is set later is found too"


def test_what_an_extension_reads_stays() -> None:
    environ = {"TICKETS_TOKEN": "t-1", "OTHER_TOKEN": "t-2"}
    variables = seal(environ, ["TICKETS_TOKEN"])
    assert environ == {"TICKETS_TOKEN": "t-1"} and variables["TICKETS_TOKEN"] == "t-1"


def test_an_empty_variable_is_no_secret() -> None:
    environ = {"OPENAI_API_KEY": ""}
    assert seal(environ).names == () and environ == {"OPENAI_API_KEY": ""}


def test_what_is_hidden_in_output_and_bundles_is_what_is_sealed() -> None:
    hidden = secrets_in({**SECRETS, **OPEN})
    in_parts = ("DATABASE_URL", "OPENAI_CUSTOM_HEADERS", "KUBIYA_PROXY_CONFIG_JSON")
    assert hidden >= {value for name, value in SECRETS.items() if name not in in_parts}
    assert {"hunter22", "sk-0123456789abcdefghij"} <= hidden, "of an address and a header the credential"
    bundled = {secret.value for secret in known_secrets.of_environment({**SECRETS, **OPEN}, "test")}
    for found in (hidden, bundled):
        assert found & set(OPEN.values()) == set()
    assert {SECRETS["AWS_ACCESS_KEY_ID"], SECRETS["DB_PASSWORD_PROD"], "hunter22", "sk-0123456789abcdefghij"} <= bundled


def test_no_text_and_no_pickle_shows_a_value() -> None:
    variables = seal({**SECRETS, **OPEN})
    shown = f"{variables} {variables!r} {[variables]}"
    assert not any(value in shown for value in SECRETS.values())
    with pytest.raises(TypeError):
        pickle.dumps(variables)


@pytest.mark.parametrize("name", ["SSH_AUTH_SOCK", "LANG", "KUBERNETES_SERVICE_HOST"])
def test_ordinary_variables_are_no_secrets(name: str, tmp_path: Path) -> None:
    assert not is_secret(name, str(tmp_path))


PROGRAM = """
import ctypes, json, os, pathlib, subprocess, sys
from kubiya_worker.process.sealed_variables import seal_process
variables = seal_process(["KEPT_TOKEN"])
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
print(json.dumps({
    "environ": dict(os.environ),
    "block": pathlib.Path("/proc/self/environ").read_bytes().decode(),
    "c": [str(libc.getenv(name)) for name in (b"OPENAI_API_KEY", b"KEPT_TOKEN", b"HTTPS_PROXY")],
    "child": subprocess.run(["env"], capture_output=True, text=True).stdout,
    "known": variables["OPENAI_API_KEY"],
}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the block, in /proc")
def test_neither_the_process_nor_its_children_nor_proc_have_them() -> None:
    env = {**SECRETS, **OPEN, "KEPT_TOKEN": "kept-1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["known"] == SECRETS["OPENAI_API_KEY"]
    for place in ("environ", "block", "child"):
        assert not [value for value in SECRETS.values() if value in str(found[place])], place
    assert "user:password" not in found["block"] and "kept-1" not in found["block"]
    assert found["c"] == ["None", "b'kept-1'", f"b'{OPEN['HTTPS_PROXY']}'"], "C libraries find what was kept"


def test_amazon_s_client_takes_them_from_the_sealed_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    sealed = {"AWS_ACCESS_KEY_ID": "AKIA-1", "AWS_SECRET_ACCESS_KEY": "secret-1", "AWS_SESSION_TOKEN": "session-1"}
    for name in (*sealed, aws.BEARER):
        monkeypatch.delenv(name, raising=False)
    found = aws.session(sealed).get_credentials()
    assert (found.access_key, found.secret_key, found.token) == ("AKIA-1", "secret-1", "session-1")
    assert aws.session({}).get_credentials() is None
    assert aws.session({aws.BEARER: "bearer-1"})._session.get_auth_token(signing_name="bedrock").token == "bearer-1"
