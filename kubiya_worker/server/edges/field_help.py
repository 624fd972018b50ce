"""This module says in a sentence what each field of a definition is for.

The JSON schema of a definition carries these sentences. Editors show them, as do the page's forms, `kubiya explain` and
docs/reference/definitions.md. In brackets stands what holds when the field is absent.

The fields of a model stand in the order in which a person needs them: forms and tables keep it.
"""

from __future__ import annotations

from typing import Any, Final

Help = dict[str, str]  # the name of a field as it is sent -> the sentence

_ABOUT: Final[Help] = {"description": "What it is for, in a line; for people."}
_SWITCH: Final[Help] = {"enabled": "false switches it off and keeps it (true)."}
_FALLBACK: Final = (
    "Models to go on with when the model's endpoint is down, in this order: a name, or a list of names (none)."
)
_RESPONSE: Final[Help] = {
    "response_format": "The form of the answer: OpenAI's object of the type `json_schema` or `json_object`, or a JSON "
    "schema (text).",
    "structured_outputs": "A JSON schema of the answer, or true for any JSON object.",
    "response_model": "A JSON schema of the answer.",
}
_EXTRA: Final[Help] = {
    "extra_body": "Fields that are added to each request to the endpoint.",
    "extra_headers": "Headers that are added to each request to the endpoint; `${NAME}` stands for a variable of the "
    "worker.",
}
_CONFINED: Final[Help] = {
    "read_paths": "Absolute paths that the server's program may read beside its workspace and the system (none).",
    "write_paths": "Absolute paths that the server's program may change too (none).",
    "grants": "Names of what else the program may do, such as docker, git, kubectl or ssh (nothing).",
    "network": "false closes the network to the program (true).",
    "confinement": "`off` runs the program unconfined; a person is then asked before each call, unless a rule allows "
    "it (on).",
}
_BUDGETS: Final[Help] = {
    "max_steps": "Model calls (250).",
    "max_tokens": "Tokens, input and output together (no limit).",
    "max_cost_usd": "What the model calls cost, in USD (no limit).",
    "max_seconds": "Seconds at work; waiting for people does not count (no limit).",
    "max_depth": "How deep teams may be nested; 1 is a team of agents (3).",
    "max_same_failures": "How often the same tool call may fail in the same way (5).",
    "on_limit": "`end`: the execution fails and says which limit it was; `ask`: a person is asked to raise it (end).",
}
_LLM: Final[Help] = {
    "temperature": "How much chance there is in the answers: 0 for as little as possible (the endpoint's default).",
    "max_tokens": "The most tokens of one answer (the endpoint's default).",
    "thinking": "Whether the model thinks before it answers: true, false, or an effort: minimal, low, medium, high, "
    "xhigh or max.",
    "reasoning_effort": "Another name of `thinking`.",
    "fallback_models": _FALLBACK,
    "timeout": "Seconds for one model call.",
    "caching": "The prompt cache of Claude models: `5m`, `1h` or `off` (5m).",
    "vision": "Whether the model takes images; overrides what is known of the model.",
    "top_p": "Takes only the likeliest words whose chances add up to this share, 0 to 1.",
    "top_k": "Takes only this many of the likeliest words.",
    "seed": "A number that makes answers repeatable, where the endpoint can.",
    "frequency_penalty": "Makes words rarer the more often they came already, -2 to 2.",
    "presence_penalty": "Makes words rarer that came already, -2 to 2.",
    "stop": "A text, or a list of texts, at which an answer ends.",
    "stop_sequences": "Another name of `stop`.",
    "parallel_tool_calls": "false lets the model call one tool at a time only.",
    **_RESPONSE,
    "compatibility": "Settings for an endpoint that differs from OpenAI's server: `stream`, `stream_options`, "
    "`tool_choice`, `max_tokens_field`, `extra_body`, `extra_headers`.",
}
_CONFIGURATION: Final[Help] = {
    "budgets": "Limits of one execution: model calls, tokens, cost, time.",
    "allowed_tools": "The only tools that may be used, by name; `*` is a wildcard (all).",
    "disallowed_tools": "Tools that may not be used in any case, by name; `*` is a wildcard (none).",
    "mcp_servers": "MCP servers: a list of names of stored ones, or an object that gives each name its `command` or "
    "`url`.",
    "taint": "After the model has read what others wrote: `web` asks a person before a call that writes, runs code or "
    "sends data out; `ask` does so also for what came from files and programs; `off` never does (web).",
    "instructions": "The system prompt of an agent that has no `system_prompt`.",
    "fallback_models": _FALLBACK,
    "compaction": "When a long conversation is summarised: an object with `at_tokens`, or false for never (at three "
    "quarters of the model's window).",
    "cwd": "The folder in which tools work (one of its own for each execution).",
    "on_unsupported_skill": "What a skill does that the worker does not have: `skip` runs without it and says so, "
    "`fail` refuses the execution (skip).",
    **_RESPONSE,
    "max_turns": "Another name of `budgets.max_steps`.",
    "mcpServers": "Another name of `mcp_servers`.",
}
_TEAM_CONFIGURATION: Final[Help] = {
    "member_ids": "The members: agents or teams, by name.",
    "mode": "How they work together: `coordinate` (the leader asks members and writes the answer), `route` (one member "
    "answers), `collaborate` (all get the task at once), `sequential` (one after the other) (coordinate).",
    "instructions": "The leader's prompt: a text, or a list of lines.",
    "leader_id": "An agent, by name: its system prompt stands before the instructions, and the team uses its model if "
    "it names none.",
    "llm": "The leader's model and its settings.",
    "member_queues": "On which worker queue a member works: an object of member and queue (the leader's queue).",
    "member_timeout": "Seconds that a member may work; waiting for people does not count (3600).",
    **{name: text for name, text in _CONFIGURATION.items() if name != "instructions"},
}
_VARIABLES: Final[Help] = {
    "env_vars": "Variables for the tools: an object of name and value. `{{.secret.NAME}}` stands for a secret.",
    "secrets": "Names of secrets that the tools get as variables.",
}
_ENTITY: Final[Help] = {
    "skills": "What it can do: an object for each skill with its `type` and `configuration`, or the name of a stored "
    "skill.",
    "environment_ids": "Environments whose variables and MCP servers it gets, by name.",
    "execution_environment": "Variables, secrets and MCP servers of its own.",
    "configuration": "Limits, allowed tools, and how a run behaves.",
    "runtime": "Kept for clients of the published server: both words run the same loop (default).",
}

HELP: Final[dict[str, Help]] = {
    "SecretSet": {
        "source": "Where the control plane reads the value at each use: `env:KUBIYA_SECRET_NAME`, `file:PATH` or "
        "`vault:MOUNT/PATH#FIELD`.",
        "value": "The value itself. It is sealed, and shown to nobody again.",
    },
    "SecretSpec": {"value_from": "Where `kubiya apply` reads the value, on the host where it runs."},
    "SecretPlace": {
        "env": "A variable of the shell in which `kubiya apply` runs.",
        "file": "A file, beside the file of definitions or by its absolute path.",
    },
    "SkillPatch": {
        "type": "What kind of skill it is, such as shell, http or ssh.",
        "configuration": "What the skill may do; `kubiya explain skill.configuration` lists the keys of each type.",
        **_ABOUT,
        **_SWITCH,
        "icon": "A picture for pages that show one; not used here.",
    },
    "Skill": {
        "type": "What kind of skill it is, such as shell, http or ssh.",
        "ref": "The name of a stored skill, in place of a type and a configuration.",
        "name": "How the model and people see it (its type).",
        "configuration": "What the skill may do; `kubiya explain skill.configuration` lists the keys of each type.",
        **_ABOUT,
        **_SWITCH,
        "icon": "A picture for pages that show one; not used here.",
        "id": "Given by the control plane; leave it out.",
    },
    "McpServerPatch": {
        "command": "A program to start; the server speaks over its input and output.",
        "args": "The program's arguments.",
        "url": "Where the server is, in place of a `command`.",
        "headers": "Headers of each request to the `url`; `{{.secret.NAME}}` stands for a secret.",
        "env": "The program's variables, beside PATH, HOME, LANG, USER, and the worker's proxy and CA file.",
        **_ABOUT,
        **_SWITCH,
        "tools": "The tools that are offered, with `*` as a wildcard (all).",
        "excludeTools": "Tools that are not offered, with `*` as a wildcard (none).",
        "oauth": "Client credentials with which a bearer token is fetched and renewed.",
        "type": "`stdio`, `http` or `sse` (told from `command` and `url`).",
        "timeout": "Seconds to start and to list the tools, 1 to 300 (30).",
        "call_timeout": "Seconds of one call, 1 to 3600; each report of progress begins them anew (120).",
        "max_call_timeout": "Seconds of one call with all its reports of progress, 1 to 3600 (3600).",
        "required": "true refuses an execution when the server cannot be used (false: it runs without).",
        "shared": "true lets the executions of a worker use one session together; only for servers that keep nothing "
        "between calls (false).",
        "cwd": "The folder in which the program starts (the workspace).",
        "envFile": "The absolute path of a file with more variables, as lines of `NAME=VALUE`.",
        **_CONFINED,
    },
    "McpOauth": {
        "token_url": "Where tokens are fetched.",
        "client_id": "The client's id.",
        "client_secret": "The client's secret: `{{.secret.NAME}}`.",
        "scope": "The scopes to ask for, with blanks between them.",
        "audience": "The audience of the token, where the server wants one.",
    },
    "EnvironmentPatch": {
        "display_name": "How pages show it (its name).",
        **_ABOUT,
        "execution_environment": "Variables, secrets and MCP servers for all that name this environment.",
        "tags": "Words to find it by.",
    },
    "Environment": {**_VARIABLES, "mcp_servers": _CONFIGURATION["mcp_servers"]},
    "RunEnvironment": {**_VARIABLES, "working_dir": "The folder in which the tools of these runs work."},
    "QueuePatch": {
        "display_name": "How pages show it (its name).",
        **_ABOUT,
        "max_workers": "The most workers at the same time; null for no limit (no limit).",
        "heartbeat_interval": "Seconds between two heartbeats of its workers, 10 to 300 (60).",
        "status": "`paused` or `inactive` gives its workers no new work (active).",
        "settings": "The models that its workers get.",
        "single_execution_mode": "true ends each worker after one execution (false).",
        "auto_cleanup_after_seconds": "Seconds after which the queue is deleted (never).",
        "tags": "Words to find it by.",
        "worker_type": "Kept for clients of the published server; not used here.",
    },
    "QueueSpec": {"environment": "The environment that the queue belongs to, by name (default)."},
    "QueueSettings": {
        "enable_local_litellm_proxy": "true lets the queue's workers take their models from `litellm_config` (false).",
        "litellm_config": "A LiteLLM configuration: an object with a `model_list`.",
    },
    "ModelPatch": {
        "model": "Provider and model, such as `openai/gpt-5-mini` or `anthropic/claude-sonnet-4-5`.",
        "api_base": "The address of an API like OpenAI's (the provider's own).",
        "api_key": "The variable of the workers that has the key: `os.environ/KUBIYA_MODEL_KEY_NAME`.",
        "queues": "Names of the queues whose workers have the model (all).",
        **_ABOUT,
        **_EXTRA,
        "compatibility": "Settings for an endpoint that differs from OpenAI's server.",
    },
    "ModelCompatibility": {
        "stream": "false asks for the whole answer at once, for servers whose streams are broken (true).",
        "stream_options": "false leaves this field out of requests; calls may then have no count of tokens (true).",
        "tool_choice": "`auto` sends the field, `omit` leaves it out (auto).",
        "max_tokens_field": "The name of the field with the limit: `max_tokens` or `max_completion_tokens`.",
        **_EXTRA,
    },
    "AgentPatch": {
        "description": "What it is for, in a line; people read it, and leaders of teams choose by it.",
        "system_prompt": "What the agent is told before each task: who it is, what it should do, what it must not.",
        "model_id": "The model that it works with; `kubiya models ls` lists them (the worker's default model).",
        **{name: _ENTITY[name] for name in ("skills", "environment_ids")},
        "llm_config": "Settings of the model, such as temperature and thinking.",
        **{name: _ENTITY[name] for name in ("configuration", "execution_environment")},
        "capabilities": "Words that say what it can do; for people and other agents.",
        "runtime": _ENTITY["runtime"],
        "model_config": "Another name of `llm_config`.",
        "model": "Another name of `model_id`.",
    },
    "TeamPatch": {
        **_ABOUT,
        "configuration": "The members, how they work together, and limits.",
        **{name: _ENTITY[name] for name in ("skills", "environment_ids", "execution_environment")},
        "status": "`inactive` or `archived`: no execution of the team starts (active).",
        "runtime": _ENTITY["runtime"],
    },
    "Budgets": _BUDGETS,
    "Configuration": _CONFIGURATION,
    "TeamConfiguration": _TEAM_CONFIGURATION,
    "AgentJobConfig": {"model_id": "The model of the job's runs (the agent's).", **_CONFIGURATION},
    "JobConfig": {"model_id": "The model of the job's runs (the agent's or team's).", **_TEAM_CONFIGURATION},
    "Compaction": {"at_tokens": "Tokens of a conversation from which on it is summarised."},
    "Llm": _LLM,
    "TeamLlm": {"model": "The leader's model (the leader's, or the worker's default model).", **_LLM},
    "RulePatch": {
        "scope_type": "What the rule is about: a `tool`, a `risk_level`, a `category`, or `all` calls.",
        "scope_value": "Which tool, risk or category, by name; `*` is a wildcard.",
        "action": "`ask` a person, `allow` or `deny` (ask).",
        "argument_pattern": "A regular expression that the arguments of the call must match (any arguments).",
        **_ABOUT,
        "priority": "Of several rules that match, the one with the highest number decides (0).",
        "approver_type": "Who may answer: `user_emails`, `group` or `role` (approvers and admins).",
        "approver_value": "Their e-mails, groups or roles, as a list or with commas.",
        "separate_approver": "true: nobody approves what they asked for (false).",
        "auto_approve_roles": "Roles or groups; what such a person starts needs no approval by this rule (none).",
        "require_reason": "true: an answer needs a reason (false).",
        "timeout_minutes": "Minutes that a request waits for its answer (1440).",
        **_SWITCH,
    },
    "JobPatch": {
        "trigger_type": "What starts it: `cron` (a schedule), `webhook` or `manual`; it can be started by hand in any "
        "case (manual).",
        "cron_schedule": "Minute, hour, day, month and weekday, such as `0 6 * * 1-5`, or a word such as `@daily`.",
        "cron_timezone": "The time zone of the schedule, such as Europe/Berlin (UTC).",
        "prompt_template": "The prompt of its runs; `{{name}}` stands for a value of the trigger.",
        **_ABOUT,
        "system_prompt": "Replaces the system prompt of the agent or team.",
        "executor_type": "Where it runs: `auto`, `specific_queue` or `environment` (told from the next two fields).",
        "worker_queue_name": "The worker queue on which it runs.",
        "environment_name": "The environment on whose queues it runs.",
        "overlap_policy": "If a run of the schedule still goes on: `allow_all`, `skip`, `buffer_one`, `buffer_all` or "
        "`cancel_other` (allow_all).",
        "catch_up_seconds": "How late a time of the schedule may still start a run, after an outage (60).",
        "webhook_secret": "With which callers sign: an HMAC of the body.",
        "config": "Replaces keys of the configuration of the agent or team, such as `budgets`.",
        "execution_environment": "Variables, secrets and the working folder of its runs.",
        "enabled": "false: nothing starts the job (true).",
    },
    "JobSpec": {
        "agent": "The agent that works on it, by name; or `team`.",
        "team": "The team that works on it, by name; or `agent`.",
    },
    "NotificationPatch": {
        "channel": "Where messages go.",
        "events": "What is told: `approval_waiting`, `question_waiting`, `approval_expires_soon`, `run_failed`, "
        "`job_failed`, `worker_lost`, `budget_near_end`.",
        **_ABOUT,
        "filters": "Only what these agents, teams or queues do (everything).",
        "quiet_hours": "Hours in which messages are held until their end (none).",
        "then": "Whom next, when a request has no answer after some minutes (nobody).",
        "budget_percent": "The share of a limit at which `budget_near_end` is told, 1 to 99 (80).",
        **_SWITCH,
    },
    "Channel": {
        "type": "`webhook`, `ntfy`, `email`, `slack`, `mattermost`, `teams` or `apprise`; it says which of the other "
        "fields are needed.",
        "url": "Where messages are sent; for slack, mattermost, teams and apprise a secret: `{{.secret.NAME}}`.",
        "secret": "Webhook: the secret with which messages are signed.",
        "topic": "ntfy: the topic.",
        "token": "ntfy: an access token.",
        "server": "E-mail: the SMTP server, as `name` or `name:port`.",
        "sender": "E-mail: from whom mails come.",
        "to": "E-mail: to whom they go.",
        "username": "E-mail: the account at the server.",
        "password": "E-mail: its password.",
        "tls": "E-mail: `starttls`, `tls` or `none` (starttls).",
        "person": "Webhook, ntfy, e-mail: the one person who reads the channel, and may answer from a message.",
        "persons": "Slack, Mattermost: who may press buttons: an object of user id and e-mail.",
        "bot_token": "Slack: the bot's token, in place of a `url`.",
        "conversation": "Slack: the id of the channel to which the bot writes.",
        "app_token": "Slack: brings buttons back by Socket Mode.",
        "signing_secret": "Slack: brings buttons back by a public URL.",
        "api_url": "Slack: another address of its API.",
    },
    "NotificationFilters": {
        "agents": "Agents, by name (any).",
        "teams": "Teams, by name (any).",
        "queues": "Worker queues, by name (any).",
    },
    "QuietHours": {
        "start": "When they begin, such as 22:00.",
        "end": "When they end, such as 07:00.",
        "zone": "Their time zone, such as Europe/Berlin.",
        "let_pass": "The severity from which on messages are not held: `warning` or `critical` (all are held).",
    },
    "Then": {
        "after_minutes": "Minutes without an answer.",
        "notification": "The notification that is told then, by name.",
    },
    "HookPatch": {
        "source": "Who sends, such as alertmanager, grafana, pagerduty, zabbix, github, gitlab, cloudevents or json.",
        "proof": "How the sender shows that it knows the secret.",
        "agent": "The agent that works on the alerts, by name; or `team`.",
        "team": "The team that works on the alerts, by name; or `agent`.",
        **_ABOUT,
        "queue": "The worker queue on which its runs work (one of the agent's or team's).",
        "prompt": "The prompt; `{{title}}`, `{{text}}`, `{{labels.NAME}}` and others stand for parts of the alert (all "
        "of them).",
        "events": "The sender's kinds of events that are taken, with `*` as a wildcard (all).",
        "match": "Labels that an alert must have: an object of label and value (any).",
        "while_running": "News while a run works on the same thing: `message` tells the run, `drop` does not "
        "(message).",
        "resolved": "The alert is over while a run works on it: `message` tells the run, `drop` does not (message).",
        "wait_for_resolved": "true: the run waits for the alert's end before its answer counts (false).",
        "max_starts_per_minute": "The most runs that start within a minute; what is held becomes one run (6).",
        "cooldown_seconds": "Seconds after a run in which the same thing starts no other (900).",
        "priority": "1 is worked on first, 5 last (3).",
        "reply": "Where the answer of a run goes.",
        **_SWITCH,
    },
    "HookProof": {
        "secret": "The secret, by its name: `{{.secret.NAME}}`.",
        "old_secret": "The secret before, which holds too while you replace it.",
        "preset": "The proof of a known sender, in place of `kind` and its fields (that of the source).",
        "kind": "`bearer`, `basic`, `header-token`, `body-token` or `hmac`.",
        "user": "basic: the user's name.",
        "header": "header-token, hmac: the header that has it.",
        "prefix": "header-token, hmac: what stands before it in the header.",
        "field": "body-token: the field of the body that has it.",
        "encoding": "hmac: `hex` or `base64` (hex).",
        "signed": "hmac: what is signed, with `{body}`, `{timestamp}` and `{id}` ({body}).",
        "timestamp_header": "hmac: the header that has the time.",
        "id_header": "hmac: the header that has the delivery's number.",
        "tolerance_seconds": "hmac: how old a signature may be, 1 to 86400 (300).",
    },
    "HookReply": {
        "kind": "`webhook` (a POST), `github` (a comment on the issue) or `grafana` (an annotation).",
        "url": "Where it goes; for github another API than GitHub's.",
        "token": "github, grafana: the token, by the secret's name: `{{.secret.NAME}}`.",
        "secret": "webhook: the secret with which it is signed.",
        "headers": "webhook: further headers.",
        "template": "webhook: the JSON body; `{{answer}}`, `{{status}}` and others stand for parts (all of them).",
        "private_networks": "Networks that are not public and may be reached, such as 10.1.0.0/16 (none).",
    },
}


def described(schema: dict[str, Any], *models: str) -> dict[str, Any]:
    """Return an object's schema with what each field is for, and the fields in the order in which people need them.

    `models` are its class and the classes that it builds on, the nearest first. Fields that are refused say so already.
    """
    fields, texts = schema.get("properties", {}), help_of(*models)
    ordered = {name: fields[name] for name in (*(name for name in texts if name in fields), *fields)}
    return {**schema, "properties": {name: _with(field, texts.get(name)) for name, field in ordered.items()}}


def _with(field: dict[str, Any], text: str | None) -> dict[str, Any]:
    return {**field, "description": text} if text and not field.get("deprecated") else field


def help_of(*models: str) -> Help:
    """Return the sentences of a model. The nearest class that has a sentence for a field wins."""
    texts: Help = {}
    for model in models:
        texts = {**texts, **{name: text for name, text in HELP.get(model, {}).items() if name not in texts}}
    return texts
