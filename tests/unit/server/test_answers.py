"""Answers from messages: bound to the request, its arguments and the person; once, and never by a GET."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import text

from tests.support import databases
from tests.support.api import Api, Object
from tests.support.receiver import Receiver
from tests.unit.server.test_notifications import HERE, PAGE, ask, deliveries, send, told_of

ANN = "ann@example.org"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(tmp_path_factory.mktemp("answers")) as made:
        made.plane.notifier.use(HERE)
        made.call("PUT", "/secrets/HOOK", {"value": "a secret of the hook"})
        made.key("approver", "Ann", email=ANN)
        made.key("operator", "Bob", email="bob@example.org", groups=["sre"])
        made.key("viewer", "Eve", email="eve@example.org")
        yield made


def clean(api: Api) -> None:
    for one in api.call("GET", "/notifications"):
        api.call("DELETE", f"/notifications/{one['id']}")


@pytest.fixture(autouse=True)
def no_others(api: Api) -> Iterator[None]:
    yield
    clean(api)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def to(receiver: Receiver, person: str | None = ANN) -> Object:
    channel = {"type": "webhook", "url": receiver.url, "secret": "{{.secret.HOOK}}"}
    return {**channel, **({"person": person} if person else {})}


def asked(api: Api, receiver: Receiver, person: str | None = ANN, **fields: Any) -> tuple[Object, str]:
    """Return a request that was told, and the path of its answer; an empty path where the message has none."""
    told_of(api, to(receiver, person), "approval_waiting", "question_waiting")
    approval = ask(api, **fields)
    send(api)
    url = receiver.got[-1].json["data"].get("answer", "")
    assert not url or url.startswith(f"{PAGE}/answers/")
    return approval, urlsplit(url).path


def press(api: Api, path: str, body: str = "decision=approve", **headers: str) -> httpx.Response:
    return api.raw("POST", path, content=body, headers={**FORM, **headers})


def look(api: Api, path: str) -> httpx.Response:
    return api.raw("GET", path)


def status(api: Api, approval: Object) -> Object:
    found: Object = api.call("GET", f"/approvals/{approval['id']}")
    return found


def signals(api: Api, approval: Object) -> list[Object]:
    told = [one["argument"] for one in api.told(approval["execution_id"]) if one["action"] == "signal"]
    return [one["args"][0] for one in told if one["name"] == "resolve_approval"]


def test_a_link_shows_the_request_and_a_button_answers_it_once(api: Api, receiver: Receiver) -> None:
    """person: whom the channel's messages are for."""
    approval, path = asked(api, receiver, tool_args={"command": "rm -r <b>&x"}, reason="It writes")
    for _ in range(3):  # a mail scanner opens links
        page = look(api, path)
    assert page.status_code == 200 and status(api, approval)["status"] == "pending"
    assert "rm -r &lt;b&gt;&amp;x" in page.text and "<b>" not in page.text and "It writes" in page.text
    assert re.findall(r'name="decision" value="(\w+)"', page.text) == ["approve", "reject"] and ANN in page.text
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert page.headers["referrer-policy"] == "same-origin" and page.headers["cache-control"] == "no-store"
    answer = press(api, path, "decision=approve&reason=It+is+fine")
    assert answer.status_code == 200 and "approved by Ann" in answer.text
    found = status(api, approval)
    assert (found["status"], found["approved_by_email"], found["comment"]) == ("approved", ANN, "It is fine")
    assert press(api, path).status_code == 409 and press(api, path, "decision=reject").status_code == 409
    assert look(api, path).status_code == 410
    (signal,) = signals(api, approval)
    assert (signal["decision"], signal["approver"]["email"]) == ("approved", ANN)


def test_the_record_says_who_answered_and_by_which_message(api: Api, receiver: Receiver) -> None:
    approval, path = asked(api, receiver)
    name = api.call("GET", "/notifications")[0]["name"]
    press(api, path, "decision=reject&reason=no")
    records = api.call("GET", "/audit?action=approval.reject&limit=5")
    (record,) = [one for one in records if one["object"]["id"] == approval["id"]]
    assert record["after"]["answered_by"] == f"message of {name} (webhook)"
    assert (record["who"]["email"], record["from"]["client"]) == (ANN, "message")
    assert urlsplit(path).path.rpartition("/")[2] not in str(records)


def test_two_messages_about_one_request_count_once(api: Api, receiver: Receiver) -> None:
    told_of(api, to(receiver), "approval_waiting")
    approval, path = asked(api, receiver, "bob@example.org", enforcement_context={"approver_group_name": "sre"})
    first, second = (urlsplit(got.json["data"]["answer"]).path for got in receiver.got)
    results = {one: press(api, one, f"decision={d}") for one, d in ((first, "approve"), (second, "reject"))}
    assert sorted(each.status_code for each in results.values())[0] == 200 and len(signals(api, approval)) == 1
    assert path in results


def test_a_person_who_may_not_is_refused_and_the_refusal_is_recorded(api: Api, receiver: Receiver) -> None:
    approval, path = asked(api, receiver, "eve@example.org")
    answer = press(api, path)
    assert answer.status_code == 403 and status(api, approval)["status"] == "pending" and not signals(api, approval)
    records = api.call("GET", "/audit?action=approval.approve&outcome=refused&limit=5")
    assert any(one["object"]["id"] == approval["id"] for one in records)
    assert look(api, path).status_code == 200  # nothing was used up


def test_the_rules_of_approvers_hold_for_messages(api: Api, receiver: Receiver) -> None:
    """approver_type and separate_approver, as they are when the button is pressed."""
    body = {"name": f"r{uuid.uuid4()}", "scope_type": "all", "approver_type": "group", "approver_value": "sre"}
    rule = api.call("POST", "/approval-rules", body, 201)["id"]
    _, path = asked(api, receiver, rule_id=rule)
    assert press(api, path).status_code == 403
    api.call("PUT", f"/approval-rules/{rule}", {"approver_type": "user_emails", "approver_value": [ANN]})
    assert press(api, path).status_code == 200
    four_eyes = {"name": f"r{uuid.uuid4()}", "scope_type": "all", "separate_approver": True}
    rule = api.call("POST", "/approval-rules", four_eyes, 201)["id"]
    headers = api.key("admin", "Ann", email=ANN)["headers"]
    execution = api.call("POST", "/agents/ops/execute", {"prompt": "x", "worker_queue_id": "default"}, headers=headers)[
        "execution_id"
    ]
    receiver.got.clear()
    second, path = asked(api, receiver, execution=execution, rule_id=rule)
    answer = press(api, path)
    assert answer.status_code == 403 and "asked for this work" in answer.text
    assert status(api, second)["status"] == "pending"


def test_a_reason_that_the_rule_wants_is_wanted_here_too(api: Api, receiver: Receiver) -> None:
    body = {"name": f"r{uuid.uuid4()}", "scope_type": "all", "require_reason": True}
    rule = api.call("POST", "/approval-rules", body, 201)["id"]
    _, path = asked(api, receiver, rule_id=rule)
    assert press(api, path).status_code == 422 and press(api, path, "decision=approve&reason=ok").status_code == 200


def test_a_question_is_answered_with_a_text(api: Api, receiver: Receiver) -> None:
    question: Object = {"enforcement_context": {"question": True}, "tool_args": {"question": "Which disk?"}}
    approval, path = asked(api, receiver, tool_name="ask_person", **question)
    assert 'name="answer"' in look(api, path).text
    press(api, path, "decision=approve&answer=The+second")
    assert signals(api, approval)[0]["arguments"] == {"question": "Which disk?", "answer": "The second"}


def test_without_a_person_who_has_a_key_there_is_only_the_page(api: Api, receiver: Receiver) -> None:
    assert asked(api, receiver, None)[1] == ""
    receiver.got.clear()
    told_of(api, to(receiver, "nobody@example.org"), "approval_waiting")
    ask(api)
    send(api)
    assert all("answer" not in got.json["data"] for got in receiver.got)


def test_a_token_ends_with_the_request_the_arguments_the_person_and_the_key(api: Api, receiver: Receiver) -> None:
    approval, path = asked(api, receiver)
    database = api.plane.database
    with database.transaction():
        database.execute(text("update answer_tokens set expires_at = 1"))
    assert look(api, path).status_code == 410 and press(api, path).status_code == 409
    assert status(api, approval)["status"] == "pending"  # what was undone with the answer
    receiver.got.clear()
    changed, path = asked(api, receiver)
    data = api.stored("approvals", changed["id"])
    data["tool_args"]["command"] = "rm -r /"
    with database.transaction():
        other = {"data": json.dumps(data), "key": changed["id"]}
        database.execute(text("update approvals set data = :data where id = :key"), other)
    assert look(api, path).status_code == 404 and press(api, path).status_code == 404
    clean(api)
    key = api.key("approver", "Zoe", email="zoe@example.org")
    _, path = asked(api, receiver, "zoe@example.org")
    api.call("DELETE", f"/keys/{key['id']}")
    assert press(api, path).status_code == 403
    clean(api)
    _, path = asked(api, receiver)
    for one in api.call("GET", "/notifications"):
        api.call("PATCH", f"/notifications/{one['id']}", {"channel": to(receiver, "bob@example.org")})
    assert press(api, path).status_code == 403  # the definition of now has another person
    assert press(api, "/answers/unknown").status_code == 404 == look(api, "/answers/unknown").status_code


def test_a_form_of_another_site_and_a_wrong_decision_answer_nothing(api: Api, receiver: Receiver) -> None:
    approval, path = asked(api, receiver)
    assert press(api, path, origin="https://evil.example.org").status_code == 403
    assert press(api, path, "decision=perhaps").status_code == 404 and press(api, path, "").status_code == 404
    assert press(api, path, "&".join(f"f{n}=1" for n in range(20))).status_code == 422
    assert status(api, approval)["status"] == "pending"


def test_the_database_has_no_token(api: Api, receiver: Receiver) -> None:
    _, path = asked(api, receiver)
    token = path.rpartition("/")[2]
    assert token.encode() not in databases.written(api.plane.database)


# -- ntfy, Mattermost, Teams


def test_a_button_of_ntfy_answers(api: Api, receiver: Receiver) -> None:
    told_of(api, {"type": "ntfy", "url": receiver.url, "topic": "t", "person": ANN}, "approval_waiting")
    approval = ask(api)
    send(api)
    view, approve, reject = receiver.got[0].json["actions"]
    assert view["action"] == "view" and (approve["label"], reject["label"]) == ("Approve", "Reject")
    assert approve["method"] == "POST" and approve["headers"] == {"content-type": FORM["Content-Type"]}
    assert press(api, urlsplit(reject["url"]).path, reject["body"]).status_code == 200
    assert status(api, approval)["status"] == "rejected" and len(receiver.got[0].json["actions"]) <= 3


def mattermost(api: Api, receiver: Receiver, persons: dict[str, str]) -> Object:
    api.call("PUT", "/secrets/MM", {"value": f"{receiver.url}/hooks/abc"})
    channel = {"type": "mattermost", "url": "{{.secret.MM}}", **({"persons": persons} if persons else {})}
    return told_of(api, channel, "approval_waiting", "run_failed")


def test_a_button_of_mattermost_answers_for_the_person_whom_the_definition_names(api: Api, receiver: Receiver) -> None:
    """url, persons: by the user ids of the channel's service."""
    mattermost(api, receiver, {"u-ann": ANN})
    approval = ask(api, tool_args={"command": "echo ``` @all"})
    send(api)
    (got,) = receiver.got
    (attachment,) = got.json["attachments"]
    assert got.path == "/hooks/abc" and attachment["title_link"].startswith(PAGE)
    assert attachment["text"].startswith("```\n") and attachment["text"].count("```") == 2
    yes, no = (action["integration"] for action in attachment["actions"])
    path = urlsplit(yes["url"]).path
    about = {"user_name": "x", "channel_id": "c", "post_id": "p", "trigger_id": "t"}

    def pressed(user: str, integration: Object) -> httpx.Response:
        body = {**about, "user_id": user, "context": integration["context"]}
        return api.raw("POST", path, json=body)

    stranger = pressed("u-other", yes)
    assert stranger.status_code == 200 and "ephemeral_text" in stranger.json() and PAGE in stranger.text
    assert status(api, approval)["status"] == "pending"
    assert look(api, f"/answers/{yes['context']['token']}").status_code == 404  # only the chat says who presses
    assert press(api, f"/answers/{yes['context']['token']}").status_code == 404
    done = pressed("u-ann", no).json()
    assert done["update"]["props"]["attachments"][0]["text"] == "shell: rejected by Ann"
    assert "ephemeral_text" in pressed("u-ann", yes).json() and len(signals(api, approval)) == 1
    wrong = {**no, "context": {"token": "wrong", "decision": "approve"}}
    assert pressed("u-ann", wrong).status_code == 404


def test_a_mattermost_without_persons_has_no_buttons(api: Api, receiver: Receiver) -> None:
    made = mattermost(api, receiver, {})
    ask(api)
    send(api)
    assert "actions" not in receiver.got[0].json["attachments"][0] and deliveries(api, made)[0]["state"] == "sent"


def test_a_card_of_teams_has_the_link_and_no_markup(api: Api, receiver: Receiver) -> None:
    api.call("PUT", "/secrets/TEAMS", {"value": f"{receiver.url}/workflows/1?sig=abc"})
    told_of(api, {"type": "teams", "url": "{{.secret.TEAMS}}"}, "approval_waiting")
    approval = ask(api, tool_args={"command": "[click](https://evil.example.org)"})
    send(api)
    (got,) = receiver.got
    assert got.path == "/workflows/1?sig=abc" and got.json["type"] == "message"
    (attachment,) = got.json["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}  # a TextBlock would make a link of it
    (action,) = card["actions"]
    assert action["type"] == "Action.OpenUrl" and action["url"].endswith(approval["execution_id"])
