"""Checks of the connection to the control plane and the model endpoint: names, TLS, proxies, clocks, keys."""

from __future__ import annotations

import http.client
import os
import shlex
import socket
import ssl
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.auth import _basic_auth_str
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_auth_from_url

from kubiya_worker import trust
from kubiya_worker.control_plane.errors import create_queue
from kubiya_worker.control_plane.transport import NO_TLS
from kubiya_worker.doctor import api_key_check
from kubiya_worker.doctor.check import FAIL, PASS, SKIP, WARN, Finding
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.process import tracing
from kubiya_worker.proxies import proxy_for
from kubiya_worker.settings import Settings

SECONDS: Final = 5.0  # for one answer
SKEW_WARN, SKEW_FAIL = 5.0, 60.0  # seconds: between the two, tokens and certificates become invalid
EXPIRY_WARN: Final = 14 * 86400  # seconds until a certificate ends
PROXY_VARIABLES: Final = "echo $HTTP_PROXY $HTTPS_PROXY $ALL_PROXY $NO_PROXY"
NOT_A_CONTROL_PLANE: Final = "Is this URL a Kubiya control plane?"


def _get(url: str, **options: Any) -> requests.Response:
    return _send("GET", url, **options)


def _send(method: str, url: str, **options: Any) -> requests.Response:
    proxy = proxy_for(url)
    proxies = {urlsplit(url).scheme: proxy} if proxy else None  # the worker's clients read the variable in the same way
    return requests.request(method, url, timeout=SECONDS, verify=_ca(), proxies=proxies, **options)


def _reason(error: requests.RequestException) -> str:
    """Return why a server could not be reached, in the system's words, such as `Connection refused`."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, requests.Timeout):
            return f"no answer within {SECONDS:g} s"
        if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
            return NO_TLS
        if isinstance(cause, OSError) and cause.strerror:
            return str(cause.strerror)
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def proxy_of(url: str) -> str | None:
    """Return the proxy for requests to `url`, without its password; None without one. Raises ConfigurationError."""
    proxy_url = proxy_for(url)
    if not proxy_url:
        return None
    parts = urlsplit(proxy_url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"


def dns(url: str) -> Finding:
    host, port = _address(url)
    if proxy_of(url):
        return Finding(SKIP, "the proxy resolves names")
    try:
        addresses = sorted({str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
    except OSError as error:
        return Finding(FAIL, f"{host}: {error.strerror or error}", f"getent hosts {host}; cat /etc/resolv.conf")
    return Finding(PASS, f"{host} is {', '.join(addresses[:4])}")


def proxy(url: str) -> Finding:
    proxy_url = proxy_of(url)
    if proxy_url is None:
        return Finding(PASS, "none for this address")
    host, port = _address(proxy_url)
    try:
        socket.create_connection((host, port), SECONDS).close()
    except OSError as error:
        return Finding(FAIL, f"{proxy_url}: {error.strerror or error}", PROXY_VARIABLES)
    return Finding(PASS, f"{proxy_url} answers")


def tls(url: str) -> Finding:
    """Check the certificate chain and its end, as the worker's clients see it, through the proxy if there is one."""
    if urlsplit(url).scheme != "https":
        return Finding(SKIP, "plain HTTP")
    host, port = _address(url)
    ca = _ca()
    try:
        folder = Path(ca).is_dir()
        context = ssl.create_default_context(cafile=None if folder else ca, capath=ca if folder else None)
    except OSError as error:
        return Finding(FAIL, f"{ca}: {error.strerror or error}", "Check KUBIYA_CA_FILE")
    connection = _connection(url, context)
    try:
        connection.connect()
        secured = connection.sock
        certificate = secured.getpeercert() or {}
        version = secured.version()
    except ssl.SSLCertVerificationError as error:
        return Finding(FAIL, f"{host}: {error.verify_message}", "export KUBIYA_CA_FILE=/path/of/your/ca.pem")
    except OSError as error:
        return Finding(FAIL, f"{host}:{port}: {error.strerror or error}", f"openssl s_client -connect {host}:{port}")
    finally:
        connection.close()
    left = ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()
    text = f"{version}, the certificate is good for {left / 86400:.0f} days"
    return Finding(WARN, text, "Renew the certificate") if left < EXPIRY_WARN else Finding(PASS, text)


def _connection(url: str, context: ssl.SSLContext) -> http.client.HTTPSConnection:
    host, port = _address(url)
    proxy_url = proxy_for(url)
    if not proxy_url:
        return http.client.HTTPSConnection(host, port, timeout=SECONDS, context=context)
    parts = urlsplit(proxy_url)
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=SECONDS, context=context)
    connection.set_tunnel(host, port, headers=_auth_of(proxy_url))
    return connection


def _auth_of(proxy: str) -> dict[str, str]:
    user, password = get_auth_from_url(proxy)
    return {"Proxy-Authorization": _basic_auth_str(user, password)} if user else {}


def _ca() -> str:
    """Return the CA certificates that the worker's clients use."""
    return trust.bundle(os.environ) or DEFAULT_CA_BUNDLE_PATH


def control_plane(url: str) -> Finding:
    try:
        reply = _get(f"{url}/api/health")
    except requests.RequestException as error:
        return Finding(FAIL, f"{url} cannot be reached ({_reason(error)})", f"curl -v {url}/api/health")
    if reply.status_code != 200:
        return Finding(FAIL, f"{url}/api/health answers {reply.status_code}", NOT_A_CONTROL_PLANE)
    return Finding(PASS, f"{url} answers in {reply.elapsed.total_seconds() * 1000:.0f} ms")


def clock(url: str) -> Finding:
    """Compare this clock with the control plane's, to the second."""
    stamp = _get(f"{url}/api/health").headers.get("Date")
    if not stamp:
        return Finding(SKIP, "the control plane sends no time")
    try:
        server_time = parsedate_to_datetime(stamp)
    except ValueError:
        return Finding(SKIP, "the control plane sends an invalid time")
    skew = (
        datetime.now(UTC) - (server_time if server_time.tzinfo else server_time.replace(tzinfo=UTC))
    ).total_seconds()
    text = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the control plane"
    if abs(skew) > SKEW_FAIL:
        return Finding(FAIL, text, "timedatectl set-ntp true")
    return Finding(WARN, text, "timedatectl set-ntp true") if abs(skew) > SKEW_WARN else Finding(PASS, text)


def api_key(settings: Settings) -> Finding:
    url = f"{settings.control_plane_url}/api/v1/auth/validate"
    reply = _get(url, headers={"Authorization": f"Bearer {settings.api_key}"})
    if reply.status_code in (401, 403):
        return Finding(
            FAIL, "the control plane refuses the API key", "Set KUBIYA_API_KEY to a key of this control plane"
        )
    if reply.status_code != 200:
        return Finding(WARN, f"the control plane could not check it ({reply.status_code})")
    return api_key_check.finding(_object(reply), api_key_check.claims(settings.api_key), datetime.now(UTC))


def queue(settings: Settings) -> Finding:
    url = f"{settings.control_plane_url}/api/v1/worker-queues/{settings.queue_id}"
    reply = _get(url, headers={"Authorization": f"Bearer {settings.api_key}"})
    if reply.status_code == 404:
        return Finding(FAIL, f"there is no queue {settings.queue_id!r}", create_queue(settings.queue_id))
    if reply.status_code != 200:
        return Finding(FAIL, f"the queue cannot be read ({reply.status_code})", f"Try again, or ask who runs {url}")
    answer = _object(reply)
    workers = answer.get("active_workers")
    text = f"{answer.get('name')}: {answer.get('status')}, {workers} worker{'' if workers == 1 else 's'}"
    if answer.get("status") != "active":
        return Finding(FAIL, text, "Activate the queue on the control plane")
    return Finding(PASS, text)


def notifications(settings: Settings) -> Finding:
    """Say which notifications could not be delivered. Only a control plane that has them, and a person's key, tell."""
    url = f"{settings.control_plane_url}/api/v1/notifications"
    reply = _get(url, headers={"Authorization": f"Bearer {settings.api_key}"})
    if reply.status_code != 200:
        return Finding(SKIP, f"this key, or this control plane, does not tell ({reply.status_code})")
    answer = reply.json()
    rows = [row for row in answer if isinstance(row, dict)] if isinstance(answer, list) else []
    by_name = {str(row.get("name")): row.get("deliveries") or {} for row in rows}
    dead = [name for name, deliveries in by_name.items() if deliveries.get("dead")]
    failing = [name for name, deliveries in by_name.items() if deliveries.get("last_error") and name not in dead]
    if not dead and not failing:
        return Finding(PASS, f"{len(by_name)} defined, all delivered")
    name = (dead or failing)[0]
    worst = by_name[name]
    text = f"{name}: {worst.get('dead')} dead, {worst.get('waiting')} waiting: {worst.get('last_error')}"
    others = len(dead) + len(failing) - 1
    text += f"; and {others} more" if others else ""
    name = shlex.quote(name)
    return Finding(WARN, text, f"kubiya notifications test {name}; then kubiya notifications retry {name}")


def _object(reply: requests.Response) -> dict[str, Any]:
    """Return the JSON object of a reply. Raises ConfigurationError for another kind of reply."""
    try:
        answer = reply.json()
    except requests.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise ConfigurationError(f"{reply.url} answers something that is not a JSON object", remedy=NOT_A_CONTROL_PLANE)
    return answer


def policy_service(settings: Settings) -> Finding:
    """Check that the enforcer can be reached. While it cannot, every tool call is refused."""
    url = settings.policy_service_url
    try:
        reply = _get(f"{url}/health", allow_redirects=False)
    except requests.RequestException as error:
        return Finding(FAIL, f"{url} cannot be reached ({_reason(error)}): tools do not run", f"curl -v {url}")
    took = f"{reply.elapsed.total_seconds() * 1000:.0f} ms"
    if reply.status_code != 200:
        return Finding(WARN, f"{url}/health answers {reply.status_code} in {took}", "Check ENFORCER_SERVICE_URL")
    return Finding(PASS, f"{url} answers in {took}")


def collector(settings: Settings) -> Finding:
    """Check that traces can be sent: the packages are there, and the collector takes a request without spans."""
    url = tracing.traces_url(settings.otlp_endpoint or "")
    if not tracing.installed():
        return Finding(WARN, f"{url} is set, and the extra otel is not installed: no traces are sent", tracing.INSTALL)
    headers = {**settings.otlp_header_values, "Content-Type": "application/x-protobuf"}
    try:
        reply = _send("POST", url, headers=headers, data=b"", allow_redirects=False)
    except requests.RequestException as error:
        remedy = f"curl -v {url}; the port for HTTP is often 4318 (4317 takes gRPC)"
        return Finding(WARN, f"{url} cannot be reached ({_reason(error)}): traces are lost", remedy)
    if reply.status_code in (401, 403):
        return Finding(WARN, f"{url} refuses the headers: traces are lost", "Check OTEL_EXPORTER_OTLP_HEADERS")
    if reply.status_code // 100 != 2:
        remedy = "Check OTEL_EXPORTER_OTLP_ENDPOINT: OTLP over HTTP with protobuf"
        return Finding(WARN, f"{url} answers {reply.status_code}: traces are lost", remedy)
    return Finding(PASS, f"{url} takes traces, in {reply.elapsed.total_seconds() * 1000:.0f} ms")


def model(url: str, token: str) -> Finding:
    """Check that the OpenAI-compatible endpoint lists its models and accepts the key."""
    if not url:
        remedy = "export OPENAI_API_KEY=…, or start a local server, such as `ollama serve`"
        return Finding(WARN, "no model endpoint: only the offline demo model works", remedy)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        reply = _get(f"{url}/models", headers=headers)
    except requests.RequestException as error:
        return Finding(FAIL, f"{url} cannot be reached ({_reason(error)})", f"curl -v {url}/models")
    if reply.status_code in (401, 403):
        return Finding(FAIL, f"{url} refuses the key", "Check OPENAI_API_KEY or LITELLM_API_KEY")
    if reply.status_code >= 500:
        return Finding(WARN, f"{url}/models answers {reply.status_code}")
    return Finding(PASS, f"{url} answers in {reply.elapsed.total_seconds() * 1000:.0f} ms")
