"""C: signing in at a real OpenID Connect provider, oidc-provider-mock; httpx does what the browser does."""

from __future__ import annotations

import json
import re
import shutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.server.oidc import PATIENCE, Provider, ProviderSettings, SignInRefused, person_of, settings
from tests.support.api import Api

pytest.importorskip("authlib")
# The provider runs in a thread of this process, and calls old parts of Authlib.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
ROLES = (("sre", "approver"), ("boss@example.org", "admin"), ("everyone", "viewer"))
KNOWN = ProviderSettings("https://idp.example", "kubiya", "s3cret", ROLES)
ANN = {"email": "ann@example.org", "email_verified": True, "name": "Ann"}


# -- what is configured, and who gets which role


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"KUBIYA_OIDC_ISSUER": "http://idp.example"}, "https://"),
        ({"KUBIYA_OIDC_CLIENT_ID": ""}, "KUBIYA_OIDC_CLIENT_ID"),
        ({"KUBIYA_OIDC_ROLES": ""}, "KUBIYA_OIDC_ROLES"),
        ({"KUBIYA_OIDC_ROLES": "sre=owner"}, "sre=owner"),
        ({"KUBIYA_OIDC_ROLES": "sre=worker"}, "sre=worker"),
        ({"KUBIYA_OIDC_ROLES": "sre"}, "GROUP=ROLE"),
    ],
)
def test_a_setting_that_is_wrong_is_said_at_the_start(variables: dict[str, str], words: str) -> None:
    good = {"KUBIYA_OIDC_ISSUER": "https://idp.example", "KUBIYA_OIDC_CLIENT_ID": "c", "KUBIYA_OIDC_ROLES": "*=viewer"}
    assert settings({}, "") is None
    assert settings(good, "") is not None
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        settings({**good, **variables}, "")


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({**ANN, "groups": ["sre", "everyone"]}, "approver"),
        ({**ANN, "groups": ["everyone"]}, "viewer"),
        ({**ANN, "email": "Boss@Example.org"}, "admin"),
        ({**ANN, "groups": ["admin", "everyone"]}, "viewer"),  # a group with the name of a role is no role
    ],
)
def test_a_group_or_an_address_gives_a_role(claims: dict[str, Any], role: str) -> None:
    found = person_of(claims, KNOWN)
    assert found["role"] == role and "admin" not in found["groups"]


@pytest.mark.parametrize(
    "claims",
    [
        {**ANN, "groups": []},
        {**ANN, "groups": ["other"]},
        {**ANN, "groups": "sre"},
        {**ANN, "groups": ["sre"], "email_verified": False},
        {"email": "boss@example.org"},
        {"groups": ["sre"]},
    ],
)
def test_who_has_no_role_or_no_verified_address_is_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(SignInRefused):
        person_of(claims, KNOWN)


# -- with a real provider


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mock = pytest.importorskip("oidc_provider_mock")
        people = [
            mock.User(sub="ann", claims={**ANN, "groups": ["sre"]}),
            mock.User(sub="eve", claims={"email": "eve@example.org", "email_verified": True, "groups": []}),
        ]
        with mock.run_server_in_thread(user_claims=people) as server:
            yield f"http://localhost:{server.server_port}"


@pytest.fixture
def api(tmp_path: Path, issuer: str) -> Iterator[Api]:
    with Api(tmp_path) as made:
        made.plane.oidc = Provider(ProviderSettings(issuer, "kubiya", "s3cret", ROLES))
        yield made


def at_the_provider(address: str, who: str) -> str:
    """Sign in there, and return where it sends the browser."""
    told = httpx.post(address, data={"sub": who})
    assert told.status_code in (302, 303), told.text
    return str(told.headers["location"])


def begun(api: Api) -> tuple[str, str]:
    """Return the provider's address, and the cookie of the sign-in."""
    told = api.ask("GET", "//auth/oidc", key=False)
    assert told.status_code == 303
    api.forget_cookies()
    return told.headers["location"], told.headers["set-cookie"].partition(";")[0]


def back(api: Api, location: str, cookie: str) -> httpx.Response:
    parts = urlsplit(location)
    told = api.ask("GET", f"/{parts.path}?{parts.query}", key=False, headers={"Cookie": cookie})
    api.forget_cookies()
    return told


def test_a_person_signs_in_at_the_provider_and_has_the_role_of_the_group(api: Api) -> None:
    assert api.ask("GET", "/session/providers", key=False).json()["oidc"]["name"].startswith("localhost:")
    address, cookie = begun(api)
    asked = parse_qs(urlsplit(address).query)
    assert asked["code_challenge_method"] == ["S256"] and asked["nonce"] and asked["scope"] == ["openid email profile"]
    told = back(api, at_the_provider(address, "ann"), cookie)
    assert (told.status_code, told.headers["location"]) == (303, "/")
    session = next(c for c in told.headers.get_list("set-cookie") if "_oidc" not in c.partition("=")[0])
    assert "httponly" in session.lower() and "samesite=strict" in session.lower()
    headers = {"Cookie": session.partition(";")[0]}
    user = api.ask("GET", "/session", key=False, headers=headers).json()["user"]
    assert (user["id"], user["role"], user["groups"]) == ("ann@example.org", "approver", ["sre"])
    assert api.ask("GET", "/agents", key=False, headers=headers).status_code == 200
    assert "session.begin" in [record["action"] for record in api.call("GET", "/audit?limit=100")]


def test_a_person_without_a_role_is_refused(api: Api) -> None:
    address, cookie = begun(api)
    told = back(api, at_the_provider(address, "eve"), cookie)
    assert told.status_code == 403 and "eve@example.org is in no group" in told.text


def forged(api: Api, cookie: str, **changes: Any) -> str:
    """Return the cookie with changes, as only who has the key could make it."""
    name, _, value = cookie.partition("=")
    held = json.loads(api.plane.seal.open(bytes.fromhex(value).decode(), "sign-in")) | changes
    return f"{name}={api.plane.seal.close(json.dumps(held), 'sign-in').encode().hex()}"


def test_another_server_with_the_same_key_finishes_the_sign_in(api: Api, tmp_path: Path) -> None:
    for same in (True, False):
        folder = tmp_path / f"other-{same}"
        folder.mkdir()
        address, cookie = begun(api)  # which has made the key
        if same:
            shutil.copy2(tmp_path / "secrets.key", folder)
        with Api(folder) as other:
            assert api.plane.oidc is not None
            other.plane.oidc = Provider(api.plane.oidc.known)
            assert back(other, at_the_provider(address, "ann"), cookie).status_code == (303 if same else 403)


def test_a_cookie_shows_nothing_and_holds_for_ten_minutes(api: Api) -> None:
    address, cookie = begun(api)
    asked = parse_qs(urlsplit(address).query)
    shown = bytes.fromhex(cookie.partition("=")[2])
    assert asked["state"][0].encode() not in shown and asked["nonce"][0].encode() not in shown
    location = at_the_provider(address, "ann")
    told = back(api, location, forged(api, cookie, at=time.time() - PATIENCE - 1))
    assert told.status_code == 403 and "too long ago" in told.text
    assert back(api, location, f"{cookie[:-2]}ff").status_code == 403
    assert back(api, location, cookie).status_code == 303


def test_a_sign_in_that_was_begun_elsewhere_or_twice_is_refused(api: Api) -> None:
    address, cookie = begun(api)
    location = at_the_provider(address, "ann")
    _, other = begun(api)
    assert back(api, location, other).status_code == back(api, location, "a=b").status_code == 403
    assert back(api, location, cookie).status_code == 303
    assert back(api, location, cookie).status_code == 403  # the same code again


def test_a_token_for_another_client_or_sign_in_is_refused(api: Api, issuer: str) -> None:
    provider = api.plane.oidc
    assert provider is not None
    address, cookie = begun(api)
    location = at_the_provider(address, "ann")
    assert back(api, location, forged(api, cookie, nonce="another")).status_code == 403
    address, cookie = begun(api)
    location = at_the_provider(address, "ann")
    provider.known = ProviderSettings(issuer, "another", "s3cret", ROLES)
    assert back(api, location, cookie).status_code == 403


def test_a_provider_that_is_away_is_said(api: Api) -> None:
    api.plane.oidc = Provider(ProviderSettings("http://127.0.0.1:1", "kubiya", "", ROLES))
    told = api.ask("GET", "//auth/oidc", key=False)
    assert told.status_code == 502 and "cannot be asked" in told.text


def test_without_a_provider_there_is_no_such_sign_in(tmp_path: Path) -> None:
    with Api(tmp_path) as bare:
        assert bare.ask("GET", "/session/providers", key=False).json() == {"oidc": None}
        assert bare.ask("GET", "//auth/oidc", key=False).status_code == 404
        assert bare.ask("GET", "//auth/oidc/callback", key=False).status_code == 404
