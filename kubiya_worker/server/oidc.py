"""This module signs a person in at an identity provider, by OpenID Connect's code flow with PKCE.

Authlib makes the requests, and joserfc, which comes with it, checks the ID token; both come with the extra `oidc`. The
provider says who a person is and in which groups; `KUBIYA_OIDC_ROLES` says which role follows. Who gets no role is
refused.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.server.person import ADMIN, APPROVER, OPERATOR, VIEWER

PATIENCE: Final = 600.0  # seconds that a person may take at the provider
TIMEOUT: Final = 10.0  # seconds for each request to the provider
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "EdDSA")  # signatures by the provider's key
ROLES: Final = (VIEWER, OPERATOR, APPROVER, ADMIN)
EVERYBODY: Final = "*"


class SignInRefused(Exception):
    """The provider or this control plane does not let the person in; the text says why."""


@dataclass(frozen=True)
class ProviderSettings:
    """`roles` are pairs of a group, an e-mail or `*`, and the role of who is or has it; the first one counts."""

    issuer: str
    client_id: str
    client_secret: str
    roles: tuple[tuple[str, str], ...]
    url: str = ""  # where browsers reach this control plane; empty for the address that they used
    groups_claim: str = "groups"


def settings(environ: Mapping[str, str], secret: str) -> ProviderSettings | None:
    """Return what the variables KUBIYA_OIDC_… say; None without an issuer. Raise ConfigurationError for a wrong one."""
    issuer = environ.get("KUBIYA_OIDC_ISSUER", "").strip().rstrip("/")
    if not issuer:
        return None
    local = issuer.startswith(("http://127.0.0.1", "http://localhost", "http://[::1]"))
    if not issuer.startswith("https://") and not local:
        raise ConfigurationError(
            f"KUBIYA_OIDC_ISSUER {issuer!r} is not an https:// address", remedy="Such as https://id.example.org"
        )
    client_id = environ.get("KUBIYA_OIDC_CLIENT_ID", "").strip()
    if not client_id:
        raise ConfigurationError(
            "KUBIYA_OIDC_ISSUER needs KUBIYA_OIDC_CLIENT_ID", remedy="Set it to the client's id at the provider"
        )
    url = environ.get("KUBIYA_OIDC_URL", "").strip().rstrip("/")
    claim = environ.get("KUBIYA_OIDC_GROUPS_CLAIM", "").strip() or "groups"
    return ProviderSettings(issuer, client_id, secret, _roles(environ.get("KUBIYA_OIDC_ROLES", "")), url, claim)


def _roles(text: str) -> tuple[tuple[str, str], ...]:
    """Parse `sre=approver, ann@example.org=admin, *=viewer`."""
    roles = []
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, role = (word.strip() for word in part.partition("="))
        if not equals or not name or role not in ROLES:
            raise ConfigurationError(
                f"KUBIYA_OIDC_ROLES has {part!r}, which is not GROUP=ROLE",
                remedy=f"A role is one of {', '.join(ROLES)}; * stands for everybody",
            )
        roles.append((name, role))
    if not roles:
        raise ConfigurationError("KUBIYA_OIDC_ISSUER needs KUBIYA_OIDC_ROLES", remedy="Such as sre=approver,*=viewer")
    return tuple(roles)


def person_of(claims: Mapping[str, Any], known: ProviderSettings) -> dict[str, Any]:
    """Return {name, email, role, groups} from a token's claims; raise SignInRefused without e-mail or role. Pure."""
    email = str(claims.get("email") or "").strip()
    if "@" not in email:
        raise SignInRefused("The identity provider says no e-mail address. Ask for the scope `email` there")
    if claims.get("email_verified") is not True:
        raise SignInRefused(f"The identity provider has not verified the address {email}")
    groups_claim = claims.get(known.groups_claim)
    # A group with the name of a role would be taken for the role in a rule's auto_approve_roles.
    groups = [
        group
        for group in map(str, groups_claim if isinstance(groups_claim, list) else ())
        if group not in (*ROLES, "worker")
    ]
    for name, role in known.roles:
        if name == EVERYBODY or name in groups or name.lower() == email.lower():
            return {"name": str(claims.get("name") or email), "email": email, "role": role, "groups": groups}
    raise SignInRefused(f"{email} is in no group that KUBIYA_OIDC_ROLES gives a role")


@dataclass(frozen=True)
class Begun:
    """A sign-in under way, as its browser keeps it, sealed: any server of the database can finish it."""

    state: str
    nonce: str
    verifier: str
    redirect: str
    at: float  # seconds since the epoch


class Provider:
    """A provider, asked over the network: call `begin` and `finish` in a thread."""

    def __init__(self, known: ProviderSettings) -> None:
        try:
            import authlib.integrations.requests_client  # noqa: F401 - only whether it is there
        except ImportError as error:
            raise ConfigurationError(
                "KUBIYA_OIDC_ISSUER needs Authlib", remedy="pip install 'kubiya-worker[server,oidc]'"
            ) from error
        self.known = known
        self._metadata: dict[str, Any] = {}

    def begin(self, base: str) -> tuple[str, Begun]:
        """Return the provider's address to send the browser to, and what finishes the sign-in."""
        redirect = f"{self.known.url or base}/auth/oidc/callback"
        nonce, verifier = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
        metadata = self._discovered()
        with self._session(redirect) as session:
            url, state = session.create_authorization_url(
                metadata["authorization_endpoint"], nonce=nonce, code_verifier=verifier
            )
        return str(url), Begun(str(state), nonce, verifier, redirect, time.time())

    def finish(self, begun: Begun, code: str) -> dict[str, Any]:
        """Return the person {name, email, role, groups} for the code that the provider gave; raise SignInRefused."""
        from authlib.common.errors import AuthlibBaseError
        from joserfc.errors import JoseError
        from requests import RequestException

        if not -PATIENCE < time.time() - begun.at < PATIENCE:
            raise SignInRefused("This sign-in was begun too long ago. Begin again")
        try:
            with self._session(begun.redirect) as session:
                token = session.fetch_token(
                    self._discovered()["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=begun.verifier,
                )
                claims = self._checked(session, str(token.get("id_token") or ""), begun.nonce)
        except (AuthlibBaseError, JoseError, RequestException, ValueError) as error:
            raise SignInRefused(f"The identity provider's answer cannot be used: {error}") from error
        return person_of(claims, self.known)

    def _session(self, redirect: str) -> Any:
        from authlib.integrations.requests_client import OAuth2Session

        session = OAuth2Session(
            self.known.client_id,
            self.known.client_secret or None,
            scope="openid email profile",
            redirect_uri=redirect,
            code_challenge_method="S256",
        )
        session.default_timeout = TIMEOUT
        return session

    def _discovered(self) -> dict[str, Any]:
        """Return the provider's metadata; raise SignInRefused when it cannot be read, or is another issuer's."""
        if not self._metadata:
            import requests

            url = f"{self.known.issuer}/.well-known/openid-configuration"
            try:
                reply = requests.get(url, timeout=TIMEOUT)
                reply.raise_for_status()
                metadata = reply.json()
            except (requests.RequestException, ValueError) as error:
                raise SignInRefused(f"The identity provider {self.known.issuer} cannot be asked: {error}") from error
            if str(metadata.get("issuer", "")).rstrip("/") != self.known.issuer:
                raise SignInRefused(f"{url} is about another issuer: {metadata.get('issuer')}")
            self._metadata = metadata
        return self._metadata

    def _checked(self, session: Any, id_token: str, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token with a valid signature, for this client, this sign-in and this moment."""
        from joserfc import jwt
        from joserfc.jwk import KeySet

        reply = session.get(self._discovered()["jwks_uri"], withhold_token=True, timeout=TIMEOUT)
        reply.raise_for_status()
        claims = jwt.decode(id_token, KeySet.import_key_set(reply.json()), algorithms=list(ALGORITHMS)).claims
        jwt.JWTClaimsRegistry(
            leeway=60,
            iss={"essential": True, "values": [self.known.issuer, f"{self.known.issuer}/"]},
            aud={"essential": True, "value": self.known.client_id},
            exp={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        ).validate(claims)
        return dict(claims)
