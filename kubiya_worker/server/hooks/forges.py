"""This module reads what forges send: GitHub, Gitea, Forgejo, GitLab. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kubiya_worker.server.hooks import alert as a
from kubiya_worker.server.hooks.alert import FIRING, RESOLVED, Alert, BadShape

# What an event is about, the most particular one first: a comment's event has its issue too.
_OBJECTS: Final = (
    *("issue", "pull_request", "discussion", "workflow_job", "workflow_run", "check_run", "check_suite"),
    *("deployment_status", "deployment", "alert", "release", "milestone", "package", "label"),
)
_OVER: Final = frozenset({"closed", "resolved", "fixed", "dismissed", "deleted", "auto_dismissed"})
_GOOD: Final = frozenset({"success", "neutral", "skipped"})
_BAD: Final = frozenset({"failure", "timed_out", "cancelled", "startup_failure", "error", "failed"})
_KIND_HEADERS: Final = ("x-github-event", "x-forgejo-event", "x-gitea-event", "x-gogs-event")
_NUMBER_HEADERS: Final = ("x-github-delivery", "x-forgejo-delivery", "x-gitea-delivery", "x-gogs-delivery")
_GITLAB_NUMBERS: Final = ("idempotency-key", "x-gitlab-webhook-uuid", "x-gitlab-event-uuid", "webhook-id")
PING: Final = "ping"


def github(body: Any, headers: Mapping[str, str]) -> Alert:
    return _forge(body, headers, "github")


def gitea(body: Any, headers: Mapping[str, str]) -> Alert:
    return _forge(body, headers, "gitea")


def forgejo(body: Any, headers: Mapping[str, str]) -> Alert:
    return _forge(body, headers, "forgejo")


def _header(headers: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((a.line(headers[name], 200) for name in names if headers.get(name)), "")


def _forge(body: Any, headers: Mapping[str, str], source: str) -> Alert:
    kind = _header(headers, _KIND_HEADERS)
    if not kind:
        raise BadShape("X-GitHub-Event", "is missing: the header says what kind of event the body is")
    if not isinstance(body, Mapping):
        raise BadShape("body", "is an object in what this sender sends")
    action, repository = a.line(body.get("action")), a.line(a.within(body, "repository", "full_name"))
    about = next((name for name in _OBJECTS if isinstance(body.get(name), Mapping)), "")
    one, comment = a.inner(body, about), a.inner(body, "comment")
    conclusion = a.line(one.get("conclusion"))
    number, link = a.line(one.get("number")), a.url(one.get("html_url"))
    delivery = _header(headers, _NUMBER_HEADERS)
    # A workflow that fails again and again is one thing: of its file and branch, not of its run.
    runs = bool(conclusion) or about.endswith("_run")
    of_run = [a.line(one.get(name)) for name in ("path", "name", "head_branch")] if runs else []
    which = number or " ".join(filter(None, of_run)) or a.line(one.get("id"))
    place = " ".join(filter(None, (repository, about, which)))
    group = place if about else delivery or a.digest(str(body))
    over = action in _OVER or conclusion in _GOOD
    title = a.line(a.first(one.get("title"), a.within(one, "security_advisory", "summary"), one.get("name"), kind))
    labels = a.labels(
        {"repository": repository, "number": number, "kind": kind, "action": action, "conclusion": conclusion},
        {"sender": a.within(body, "sender", "login"), "branch": a.first(one.get("head_branch"), body.get("ref"))},
        {"commit": a.first(one.get("head_sha"), body.get("after"))},
    )
    return Alert(
        source=source,
        id=f"{group}|{a.line(a.first(one.get('run_started_at'), one.get('created_at')))}",
        group=group,
        status=RESOLVED if over else FIRING,
        severity=a.severity(a.first(a.within(one, "security_advisory", "severity"), conclusion in _BAD and "error")),
        title=f"{repository}{'#' + number if number else ''}: {title}" if repository else title,
        text=a.text(a.first(comment.get("body"), one.get("body"), a.within(one, "output", "summary"))),
        url=a.url(comment.get("html_url")) or link or a.url(a.within(body, "repository", "html_url")),
        labels=labels,
        started_at=a.time(a.first(one.get("run_started_at"), one.get("created_at"))),
        ended_at=a.time(a.first(one.get("closed_at"), one.get("completed_at"), one.get("updated_at"))) if over else "",
        event=f"{kind}.{action}" if action else kind,
        raw=body,
        state=a.digest(group, kind, action, conclusion, delivery),
        number=delivery,
    )


def gitlab(body: Any, headers: Mapping[str, str]) -> Alert:
    """Read an event of GitLab: a pipeline's thing is its branch, and that of an issue or a merge request its number."""
    kind = a.line(a.within(body, "object_kind"))
    if not kind:
        raise BadShape("object_kind", "is missing: this is no webhook of GitLab")
    about = a.inner(body, "object_attributes") or body
    parent = a.inner(body, "issue") or a.inner(body, "merge_request")  # of a comment
    project = a.line(a.within(body, "project", "path_with_namespace"))
    action, status = a.line(about.get("action")), a.line(a.first(about.get("status"), body.get("build_status")))
    number = a.line(a.first(parent.get("iid") if kind == "note" else None, about.get("iid")))
    number = "" if kind == "pipeline" else number
    branch = a.line(a.first(about.get("ref"), body.get("ref"), about.get("source_branch")))
    delivery = _header(headers, _GITLAB_NUMBERS)
    of_note = "issue" if a.inner(body, "issue") else "merge_request"
    which = number or branch or a.line(about.get("id"))
    group = " ".join(filter(None, (project, of_note if kind == "note" else kind, which))) or delivery
    over = action in ("close", "merge") or status in ("success", "resolved", "skipped")
    ended = a.first(about.get("finished_at"), about.get("closed_at"), about.get("updated_at"))
    title = a.line(a.first(about.get("title"), parent.get("title"), body.get("build_name"), kind))
    return Alert(
        source="gitlab",
        id=f"{group}|{a.line(about.get('created_at'))}",
        group=group,
        status=RESOLVED if over else FIRING,
        severity=a.severity(a.first(about.get("severity"), status == "failed" and "error")),
        title=f"{project}: {title}" if project else title,
        text=a.text(a.first(about.get("note"), about.get("description"))),
        url=a.url(a.first(about.get("url"), a.within(body, "project", "web_url"))),
        labels=a.labels(
            {"project": project, "kind": kind, "number": number, "action": action, "status": status, "branch": branch},
            {"sender": a.first(a.within(body, "user", "username"), body.get("user_username"))},
        ),
        started_at=a.time(about.get("created_at")),
        ended_at=a.time(ended) if over else "",
        event=f"{kind}.{a.first(action, status)}" if a.first(action, status) else kind,
        raw=body,
        state=a.digest(group, kind, action, status, delivery),
        number=delivery,
    )
