"""Secrets of MCP servers and environments are redacted; ordinary values stay, so that results remain readable."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.tools import mcp, secret_values
from kubiya_worker.tools.redaction import Redactor

ENVIRONMENT = {"SITE_CODE": "zq81canary", "LOG_LEVEL": "DEBUGGING", "API_KEY": "sk-1234567", "FOLDER": "/tmp/data"}


def of(**settings: Any) -> set[str]:
    remote = "headers" in settings or "url" in settings
    kind = {"url": "https://mcp.example.com/mcp"} if remote else {"command": "server"}
    return secret_values.values(ENVIRONMENT, mcp.parse({"s": {**kind, **settings}})) - secret_values.values(ENVIRONMENT)


def test_of_an_environment_what_its_name_says() -> None:
    assert secret_values.values(ENVIRONMENT) == {"sk-1234567"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_TOKEN", "tok-abcdef-123456"),
        ("apiKey", "abc123"),
        ("X-Api-Key", "abc123"),
        ("DB_PASSWORD", "hunter2"),
        ("DB_PWD", "hunter2"),
        ("PASSPHRASE", "open sesame"),
        ("MYAPPTOKEN", "abcdef"),
        ("GITHUB_PAT", "abcdef"),
        ("SSH_PRIVATE_KEY", "-----BEGIN-----x"),
        ("DB_PASSWORD_PROD", "hunter2"),
        ("STRIPE_API_KEY_LIVE", "abcdef"),
        ("github_token_2", "abcdef"),
        ("PARTITION_KEY_PASSWORD", "hunter2"),
        ("PRIMARY_API_KEY", "abcdef"),
        # The primary key of a cloud's account is one: its value tells.
        ("COSMOS_PRIMARY_KEY", "C2y6yDjf5R9ob0N8A7Cgv30VRDJIWEHLM4pDQ5nObd0JKrbUkY1x5fB8eT2qA=="),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
        ("ANY", "ghp_abcdefghijklmnop1234"),
        ("ANY", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"),
        ("ANY", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY12"),
    ],
)
def test_credentials_are_told_by_name_or_shape(name: str, value: str) -> None:
    assert value in secret_values.values({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("K8S_NAMESPACE", "kube-system"),
        ("CLUSTER", "production"),
        ("PGDATABASE", "inventory"),
        ("MAX_TOKENS", "100000"),
        ("SSH_KEY_PATH", "/home/me/.ssh/id"),
        ("KEYCLOAK_REALM", "employees"),
        ("KEYBOARD_LAYOUT", "english"),
        ("PRIVATE_SUBNET", "subnet-0abc123"),
        ("partition_key", "customer_id"),
        ("primary_key", "customer_id"),
        ("sort_key", "ordered_at"),
        ("PARTITION_KEY", "customer_id"),
        ("ORDERS_PRIMARY_KEY", "customer_id"),
        ("partitionKey", "customer_id"),
        ("sort-key", "ordered_at"),
        ("FOREIGN_KEYS", "customer_id,order_id"),
        ("CACHE_KEY_PREFIX", "frontend"),
        ("TOKENIZERS_PARALLELISM", "disabled"),
        ("AUTH_TYPE", "oauth-client"),
        ("TOKEN_URL", "https://login.example.com/oauth/token"),
        ("USE_TOKEN", "enabled"),
        ("PWD", "/srv/desk/agent"),
        ("PROJECT", "123e4567-e89b-12d3-a456-426614174000"),
        ("IMAGE", "registry.example.com/team/service:2026.11.28"),
        ("COMMIT", "9f2c1b7a7e0d4c3f8b6a5d4e3c2b1a0f9e8d7c6b"),
    ],
)
def test_ordinary_values_stay_readable(name: str, value: str) -> None:
    assert secret_values.values({name: value}) == set()
    assert secret_values.values({}, mcp.parse({"s": {"command": "x", "env": {name: value}}})) == set()


@pytest.mark.parametrize(
    ("text", "secret", "left"),
    [
        ("postgresql://admin:hunter22@db.test/x", "hunter22", "postgresql://admin:[redacted]@db.test/x"),
        ("mongodb+srv://u:p%40ssword@h/db", "p@ssword", "mongodb+srv://u:[redacted]@h/db"),
        ("amqp://u:pa/ssword@h/v", "pa/ssword", "amqp://u:[redacted]@h/v"),
        ("redis://:hunter22@cache:6379/0", "hunter22", "redis://:[redacted]@cache:6379/0"),
        (
            "host=db.test dbname=x user=u password=hunter22",
            "hunter22",
            "host=db.test dbname=x user=u password=[redacted]",
        ),
        ("Server=db;Database=x;Password='a b;c d';", "a b;c d", "Server=db;Database=x;Password='[redacted]';"),
        (
            "jdbc:postgresql://db.test/x?user=u&password=hunter22",
            "hunter22",
            "jdbc:postgresql://db.test/x?user=u&password=[redacted]",
        ),
        ("root:hunter22@tcp(db:3306)/x", "hunter22", "root:[redacted]@tcp(db:3306)/x"),
    ],
)
def test_of_a_dsn_the_password_is_hidden_and_the_rest_stays(text: str, secret: str, left: str) -> None:
    for found in (
        of(args=[text]),
        of(args=[f"--dsn={text}"]),
        of(env={"DATABASE_URL": text}),
        secret_values.values({"DSN": text}),
    ):
        assert secret in found
        assert Redactor(found).text(text) == left


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://postgres:postgres@postgres:5432/postgres", "postgresql://[redacted]postgres:5432/postgres"),
        ("postgresql://app:pw@db.test/x", "postgresql://[redacted]db.test/x"),
        ("redis://:pw@h/0", "redis[redacted]h/0"),
    ],
)
def test_a_password_that_is_short_or_also_a_name_does_not_hide_other_words(text: str, shown: str) -> None:
    redactor = Redactor(of(args=[text]))
    assert redactor.text(f"{text} of postgres, pw") == f"{shown} of postgres, pw"


@pytest.mark.parametrize(
    "text", ["https://h.example:8443/a/b@c", "http://h/x:y", "https://h.example/mcp", "::1", "http://[::1", "a:b@c"]
)
def test_what_is_no_dsn_hides_nothing(text: str) -> None:
    assert of(args=[text]) == set()


@pytest.mark.parametrize(
    ("settings", "secret"),
    [
        ({"env": {"CODE": "{{.secret.SITE_CODE}}"}}, "zq81canary"),
        ({"env": {"PASSWORD": "six666"}}, "six666"),
        ({"args": ["--code={{.secret.LOG_LEVEL}}"]}, "DEBUGGING"),
        ({"args": ["--api-key", "abcdef"]}, "abcdef"),
        ({"args": ["-e", "TOKEN=abcdef"]}, "abcdef"),
        ({"args": ["--header", "Authorization: Bearer abcdef"]}, "abcdef"),
        ({"args": ["--header=X-Api-Key: abcdef"]}, "abcdef"),
        ({"url": "https://h.example/mcp?key=abc123"}, "abc123"),
        ({"url": "https://h.example/s/aB3dE6gH9jK2mN5pQ8sT1vW4/mcp"}, "aB3dE6gH9jK2mN5pQ8sT1vW4"),
        ({"url": "https://me:letmein1@h.example/mcp"}, "letmein1"),
        ({"headers": {"Authorization": "Bearer {{SITE_CODE}}"}}, "zq81canary"),
        ({"headers": {"Authorization": "Bearer literal-token"}}, "literal-token"),
    ],
)
def test_credentials_of_servers_are_hidden(settings: dict[str, Any], secret: str) -> None:
    assert secret in of(**settings)
    assert secret not in Redactor(of(**settings)).text(f"the server said: {secret}!")


@pytest.mark.parametrize(
    "settings",
    [
        {"env": {"LEVEL": "{{LOG_LEVEL}}", "SITE": "{{SITE_CODE}}"}},
        {"env": {"ANY": "https://tracker.example.com/api"}},
        {"args": ["{{FOLDER}}", "a-long-argument-of-the-server", "--verbose", "--root", "/srv/data"]},
        {"headers": {"Accept": "application/json", "User-Agent": "kubiya-worker", "X-Tenant": "tenant-0042"}},
    ],
)
def test_what_is_no_credential_can_be_read(settings: dict[str, Any]) -> None:
    assert of(**settings) == set()


def test_a_template_that_nothing_fills_in_hides_nothing() -> None:
    assert of(env={"A": "{{.secret.ABSENT}}"}) == set()
