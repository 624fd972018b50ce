"""Each field that a route takes has a test that shows its effect: a field without one fails here.

The fields come from the models of the routes. `EFFECTS` names, for each test, the fields whose effect it shows; the
test has to exist and to name the field. A field that is refused by name (`NotSupported`) has its test in
test_refused_fields.py.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, RootModel
from typing_extensions import is_typeddict

from kubiya_worker.server.api import batch
from kubiya_worker.server.app import RESOURCES
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges.base import fields_of

ROOT = Path(__file__).parents[3]
DEFINITIONS = "tests/unit/server/test_effect_definitions.py"
MANIFESTS = "tests/unit/server/test_manifests.py"
RUNS = "tests/unit/server/test_effect_runs.py"
FILTERS = "tests/unit/server/test_effect_filters.py"
LISTS = "tests/unit/server/test_execution_lists.py"
SECRETS = "tests/unit/server/test_secrets.py"
FORKS = "tests/unit/server/test_forks.py"
GOES_ON = "tests/unit/server/test_goes_on.py"
WRITES = "tests/unit/server/test_effect_writes.py"
APPROVERS = "tests/unit/server/test_approvers.py"
KEYS = "tests/unit/server/test_keys.py"
NOTIFICATIONS = "tests/unit/server/test_notifications.py"
ANSWERS = "tests/unit/server/test_answers.py"
HOOKS = "tests/unit/server/test_hooks.py"
REPLIES = "tests/unit/server/test_hook_replies.py"
SLACK = "tests/unit/server/test_slack.py"
BUDGETS = "tests/unit/server/test_budget_notices.py"
MODELS = "tests/unit/server/test_stored_models.py"
PARTS = "tests/unit/server/test_shared_parts.py"
TIMES = "tests/unit/server/test_notification_times.py"
FILES = "tests/unit/server/test_run_files.py"
BEGUN = "tests/unit/activities/test_definition.py"

# By test: the models' fields whose effect it shows, as module.Model and the names.
EFFECTS: dict[str, dict[str, str]] = {
    f"{FILES}::test_a_file_that_is_not_stored_says_why": {"worker.RunFileBody": "path content size refused"},
    f"{MANIFESTS}::test_what_is_applied_is_told_back_and_applied_again_changes_nothing": {
        "manifests.Document": "kind name spec",
        "manifests.Apply": "documents",
        "filters.DefinitionFilters": "kind",
    },
    f"{MANIFESTS}::test_a_document_holds_only_where_its_base_is_stored": {"manifests.Document": "base"},
    f"{MANIFESTS}::test_a_dry_run_tells_the_changes_and_makes_none": {"manifests.Apply": "dry_run"},
    f"{MANIFESTS}::test_prune_deletes_what_the_same_source_does_not_name_any_more": {"manifests.Apply": "prune source"},
    f"{MANIFESTS}::test_documents_are_written_as_yaml_and_read_again_with_their_lines": {
        "manifests.DefinitionText": "text",
        "manifests.Documents": "documents",
        "manifests.Draft": "kind name spec",
    },
    "tests/unit/server/test_effect_filters.py::test_workers_that_are_gone_are_told_when_they_are_asked_for": {
        "filters.WorkerFilters": "gone"
    },
    "tests/unit/server/test_trials.py::test_a_test_runs_on_the_queue_that_is_asked_for_and_is_recorded": {
        "trials.NewTrial": "mcp_server queue",
    },
    "tests/unit/cli/test_kinds.py::test_whatever_is_on_a_queue_is_listed_by_it_and_nothing_else": {
        "filters.ApprovalFilters": "queue",
    },
    "tests/unit/server/test_trials.py::test_only_a_worker_of_this_version_tests_more_than_agents": {
        "trials.NewServerTrial": "mcp_server queue",
        "trials.NewStoredTrial": "queue",
    },
    "tests/unit/server/test_wishes.py::test_a_wish_reaches_the_worker_with_its_next_heartbeat": {
        "wishes.NewWish": "reason",
    },
    f"{MANIFESTS}::test_versions_say_who_and_what_and_can_come_back": {"manifests.Rollback": "version"},
    f"{DEFINITIONS}::test_what_is_given_is_stored_and_shown": {
        "definitions.EnvironmentPatch": "name display_name description tags",
        "definitions.NewEnvironment": "name",
        "definitions.QueuePatch": "name display_name description tags worker_type parent_execution_id",
        "definitions.NewQueue": "name",
        "definitions._Entity": "description",
        "definitions.AgentPatch": "name capabilities status",
        "definitions.NewAgent": "name",
        "definitions.TeamPatch": "name",
        "definitions.NewTeam": "name",
        "definitions.RulePatch": "name description",
        "definitions.NewRule": "name",
        "jobs.JobPatch": "name description",
        "jobs.NewJob": "name",
    },
    f"{DEFINITIONS}::test_a_queue_takes_as_many_workers_as_max_workers_says": {"definitions.QueuePatch": "max_workers"},
    f"{DEFINITIONS}::test_a_queue_tells_its_workers_how_to_work": {
        "definitions.QueuePatch": "heartbeat_interval single_execution_mode settings",
        "definitions.QueueSettings": "enable_local_litellm_proxy litellm_config",
    },
    f"{DEFINITIONS}::test_a_queue_for_one_run_is_hidden_and_gets_no_other_work": {
        "definitions.QueuePatch": "ephemeral"
    },
    f"{DEFINITIONS}::test_a_queue_is_deleted_after_its_time_unless_somebody_needs_it": {
        "definitions.QueuePatch": "auto_cleanup_after_seconds",
    },
    f"{DEFINITIONS}::test_a_queue_that_is_not_active_takes_no_workers_and_no_work": {
        "definitions.QueuePatch": "status"
    },
    f"{DEFINITIONS}::test_a_team_that_is_not_active_starts_nothing": {"definitions.TeamPatch": "status"},
    f"{DEFINITIONS}::test_the_environment_of_a_queue_is_the_one_of_its_path": {
        "definitions.NewQueue": "environment_id"
    },
    f"{DEFINITIONS}::test_an_agents_definition_is_what_its_run_starts_with": {
        "definitions.AgentPatch": "system_prompt model_id llm_config configuration",
        "definitions._Entity": "runtime",
    },
    f"{DEFINITIONS}::test_model_and_model_config_are_other_names": {"definitions.AgentPatch": "model model_config"},
    f"{DEFINITIONS}::test_what_a_worker_says_beside_a_status_is_dropped_as_published": {
        "definitions.AgentPatch": "last_active_at state error_message",
    },
    f"{DEFINITIONS}::test_a_skill_is_what_a_worker_gets_unless_it_is_switched_off": {
        "definitions._Entity": "skills",
        "definitions.Skill": "id name type description icon enabled configuration",
    },
    f"{DEFINITIONS}::test_variables_and_mcp_servers_come_from_environments_and_then_from_the_agent": {
        "definitions.EnvironmentPatch": "execution_environment",
        "definitions._Entity": "execution_environment environment_ids",
        "configuration.Environment": "env_vars mcp_servers",
    },
    f"{DEFINITIONS}::test_a_teams_configuration_is_what_its_run_starts_with": {
        "definitions.TeamPatch": "configuration"
    },
    f"{DEFINITIONS}::test_rules_are_found_by_what_they_are_about": {
        "definitions.RulePatch": "scope_type scope_value enabled priority",
        "definitions.NewRule": "scope_type",
        "worker.Resolve": "tool_name tool_args risk_level category",
    },
    f"{DEFINITIONS}::test_what_a_worker_needs_of_a_rule_reaches_it": {
        "definitions.RulePatch": "argument_pattern timeout_minutes action",
    },
    f"{DEFINITIONS}::test_a_rule_that_wants_a_reason_is_not_answered_without_one": {
        "definitions.RulePatch": "require_reason",
    },
    f"{APPROVERS}::test_only_those_whom_the_rule_names_may_answer": {
        "definitions.RulePatch": "approver_type approver_value",
    },
    f"{APPROVERS}::test_nobody_approves_what_they_asked_for": {"definitions.RulePatch": "separate_approver"},
    f"{APPROVERS}::test_what_certain_persons_start_needs_no_approval": {"definitions.RulePatch": "auto_approve_roles"},
    f"{KEYS}::test_a_key_is_its_persons_and_shown_once": {"keys.NewKey": "name role email groups"},
    f"{KEYS}::test_a_limited_key_reaches_only_its_queues_and_agents": {"keys.NewKey": "queues agents"},
    f"{KEYS}::test_a_key_ends_at_its_time": {"keys.NewKey": "expires_in_days"},
    f"{RUNS}::test_a_request_says_what_its_run_starts_with": {
        "executions.Execute": "prompt system_prompt model_id user_metadata execution_environment execution_metadata",
        "configuration.RunEnvironment": "env_vars working_dir",
    },
    f"{RUNS}::test_a_run_goes_to_its_queue_and_knows_what_started_it": {
        "executions.Execute": "worker_queue_id parent_execution_id stream",
    },
    f"{RUNS}::test_a_priority_is_temporals_and_a_retry_keeps_it": {"executions.Execute": "priority"},
    f"{RUNS}::test_an_entity_of_one_request_is_what_its_run_starts_with": {
        "executions.ExecuteDynamic": "prompt entity worker_queue_id execution_environment user_metadata",
        "executions.Entity": (
            "entity_type name system_prompt model_id model_params configuration mcp_servers skill_ids subagents runtime"
        ),
        "configuration.EntityConfiguration": "runtime_config",
        "configuration.RuntimeConfig": "agents",
        "configuration.Subagent": "id",
    },
    f"{RUNS}::test_a_message_reaches_the_run_with_who_said_it_and_to_whom": {
        "executions.Message": "message role message_id member",
    },
    f"{FORKS}::test_a_fork_shares_the_conversation_up_to_its_step": {"executions.Fork": "at prompt"},
    f"{FORKS}::test_another_agent_model_and_queue_go_on": {
        "executions.Fork": "message_id agent model_id worker_queue_id"
    },
    f"{RUNS}::test_a_reason_is_told_to_temporal_and_shown": {
        "executions.Terminate": "reason",
        "executions.TerminateAll": "reason execution_ids",
    },
    f"{RUNS}::test_an_answer_reaches_the_run_with_its_reason_and_who_gave_it": {
        "executions.Answer": "comment reason approver_email approver_name approver_id",
    },
    f"{RUNS}::test_an_answer_can_edit_arguments_and_count_for_later_calls": {
        "executions.Answer": "answer arguments remember",
    },
    f"{RUNS}::test_a_stop_says_why_and_workers_are_told_of_it_for_an_agent_or_a_team": {
        "executions.StopAll": "reason",
        "filters.AuthorityFilters": "kind entity",
    },
    f"{RUNS}::test_a_job_says_what_its_runs_start_with": {
        "jobs.JobPatch": "prompt_template system_prompt config execution_environment",
        "jobs.JobConfig": "model_id",
        "jobs.Trigger": "parameters config_override",
    },
    f"{RUNS}::test_a_job_runs_its_agent_or_team": {"jobs.JobPatch": "entity_type entity_id planning_mode"},
    f"{RUNS}::test_a_job_runs_where_it_says": {"jobs.JobPatch": "executor_type worker_queue_name environment_name"},
    f"{RUNS}::test_a_job_that_is_disabled_does_not_run": {"jobs.JobPatch": "enabled"},
    f"{RUNS}::test_a_cron_job_keeps_its_times": {
        "jobs.JobPatch": "trigger_type cron_schedule cron_timezone",
        "jobs.NewJob": "trigger_type",
    },
    f"{RUNS}::test_a_schedule_knows_what_to_do_while_a_run_is_going_and_after_an_outage": {
        "jobs.JobPatch": "overlap_policy catch_up_seconds",
    },
    f"{RUNS}::test_the_secret_of_a_webhook_is_the_one_that_was_given": {"jobs.JobPatch": "webhook_secret"},
    f"{BEGUN}::test_an_agents_configuration_reaches_its_run": {
        "configuration.Configuration": "budgets max_turns cwd taint instructions mcp_servers mcpServers",
    },
    f"{BEGUN}::test_the_lists_of_tools_become_rules_that_deny": {
        "configuration.Configuration": "allowed_tools disallowed_tools",
    },
    f"{BEGUN}::test_a_teams_configuration_reaches_its_run": {
        "configuration.TeamConfiguration": "mode leader_id member_ids member_queues member_timeout llm",
        "configuration.TeamLlm": "model",
    },
    f"{BEGUN}::test_an_entity_of_one_request_has_members_of_its_own": {
        "configuration.Subagent": "name description prompt model tools",
    },
    "tests/integration/agent/test_compaction.py::test_past_the_threshold_the_model_gets_a_summary": {
        "configuration.Configuration": "compaction",
        "configuration.Compaction": "at_tokens",
    },
    "tests/integration/agent/test_loop.py::test_an_agent_may_refuse_to_run_without_one_of_its_skills": {
        "configuration.Configuration": "on_unsupported_skill",
    },
    "tests/integration/agent/test_attempts.py::test_a_used_up_account_hands_over_to_the_next_model_at_once": {
        "configuration.Configuration": "fallback_models",
        "configuration.Llm": "fallback_models",
    },
    "tests/unit/models/test_structured.py::test_a_schema_is_found_however_it_is_given": {
        "configuration.Configuration": "response_format structured_outputs response_model",
        "configuration.Llm": "response_format structured_outputs response_model",
    },
    "tests/unit/models/test_llm_settings.py::test_a_setting_reaches_the_request": {
        "configuration.Llm": (
            "temperature top_p top_k max_tokens seed frequency_penalty presence_penalty stop stop_sequences "
            "parallel_tool_calls thinking reasoning_effort"
        ),
    },
    "tests/integration/models/test_failures.py::test_timeout_of_the_model_config_bounds_the_whole_call": {
        "configuration.Llm": "timeout",
    },
    "tests/unit/models/test_caching.py::test_marks_are_for_models_that_want_them": {"configuration.Llm": "caching"},
    "tests/integration/models/test_compatibility.py::test_fields_and_headers_are_added_and_the_agents_win": {
        "configuration.Llm": "compatibility",
    },
    "tests/unit/activities/test_images.py": {"configuration.Llm": "vision"},
    f"{FILTERS}::test_skip_and_limit_give_a_part_of_a_list": {"filters.Page": "skip limit"},
    f"{FILTERS}::test_executions_are_found_by_status_and_type": {
        "filters.ExecutionFilters": "status status_filter execution_type skip limit summary",
    },
    f"{RUNS}::test_a_cancellation_says_why": {"executions.Cancel": "reason"},
    f"{RUNS}::test_the_same_can_start_on_another_queue_and_once_for_a_key": {"executions.Retry": "worker_queue_id"},
    f"{LISTS}::test_each_filter_leaves_what_it_says": {
        "filters.ExecutionFilters": "agent queue person since until text id waits",
    },
    f"{LISTS}::test_pages_go_on_from_their_cursor_in_both_orders": {
        "filters.ExecutionFilters": "cursor order limit",
    },
    f"{FILTERS}::test_executions_of_a_queue_are_found_by_status": {"filters.QueueExecutionFilters": "status limit"},
    f"{FILTERS}::test_events_are_given_after_a_number": {"filters.EventFilters": "after limit"},
    f"{FILTERS}::test_a_stream_goes_on_after_the_last_event": {"filters.Stream": "last_event_id"},
    f"{FILTERS}::test_a_session_is_that_of_its_execution": {"filters.SessionFilters": "session_id"},
    f"{FILTERS}::test_approvals_are_found_by_what_they_are": {
        "filters.ApprovalFilters": "status execution_id requester_email limit offset",
        "filters.PendingApprovalFilters": "execution_id",
    },
    f"{FILTERS}::test_jobs_say_when_they_are_due_if_asked": {"filters.JobFilters": "due"},
    f"{FILTERS}::test_the_runs_of_a_job_are_given_in_parts": {"filters.JobRunFilters": "skip offset limit"},
    f"{FILTERS}::test_models_are_found_by_provider_runtime_and_type": {"filters.ModelFilters": "provider runtime type"},
    f"{FILTERS}::test_an_install_script_is_for_its_kind_of_deployment": {"filters.InstallScript": "deployment_type"},
    f"{FILTERS}::test_an_environment_can_be_that_of_an_execution": {"filters.EnvironmentFilters": "execution_id"},
    "tests/unit/server/test_deletion.py::test_force_ends_each_and_says_so": {"filters.Deletion": "force"},
    "tests/unit/server/test_audit.py::test_records_are_found_by_what_they_say": {
        "filters.AuditFilters": "since until person action object outcome before limit",
    },
    "tests/unit/server/test_audit.py::test_the_chain_of_all_this_holds": {"filters.AuditExport": "after"},
    f"{SECRETS}::test_a_secret_is_set_and_no_reply_has_its_value": {"secrets.SecretSet": "value"},
    f"{SECRETS}::test_a_secret_can_be_kept_elsewhere": {"secrets.SecretSet": "source"},
    f"{SECRETS}::test_a_worker_gets_what_the_definition_references_and_nothing_else": {
        "secrets.SecretsWanted": "worker_id execution_id kind entity_id names",
    },
    f"{SECRETS}::test_a_listed_secret_is_a_variable_of_its_name": {
        "configuration.Environment": "secrets",
        "configuration.RunEnvironment": "secrets",
    },
    f"{KEYS}::test_a_key_that_is_changed_stays_the_same_key": {
        "keys.KeyPatch": "name groups queues agents expires_in_days",
    },
    f"{PARTS}::test_a_skill_that_agents_name_reaches_the_worker_as_if_they_had_it": {
        "shared_parts.SkillPatch": "type description icon enabled configuration",
        "shared_parts.NewSkill": "name type",
    },
    f"{PARTS}::test_a_server_that_is_named_is_handed_out_as_it_was_written": {
        "shared_parts.McpServerPatch": (
            "command args env envFile cwd url type headers oauth enabled timeout call_timeout max_call_timeout "
            "required shared tools excludeTools confinement read_paths write_paths grants network description"
        ),
        "shared_parts.McpOauth": "token_url client_id client_secret scope audience",
        "shared_parts.NewMcpServer": "name",
    },
    f"{MODELS}::test_the_workers_of_a_queue_get_the_models_that_are_stored_for_it": {
        "models.ModelPatch": "description queues model api_base api_key extra_body extra_headers compatibility",
        "models.ModelCompatibility": "stream stream_options tool_choice max_tokens_field extra_body extra_headers",
        "models.NewModel": "name model",
    },
    f"{PARTS}::test_a_change_of_a_skill_holds_for_runs_that_are_going_on": {"definitions.Skill": "ref"},
    f"{NOTIFICATIONS}::test_what_is_given_is_stored_and_shown": {
        "notifications.NotificationPatch": "name description",
    },
    f"{NOTIFICATIONS}::test_a_webhook_is_signed_and_has_the_same_id_at_each_try": {
        "notifications.NotificationPatch": "channel",
        "notifications.NewNotification": "name channel",
        "notifications.Channel": "type url secret",
    },
    f"{NOTIFICATIONS}::test_a_message_goes_to_a_topic_of_ntfy": {"notifications.Channel": "topic token"},
    f"{NOTIFICATIONS}::test_a_mail_is_sent_by_tls_with_the_same_message_id": {
        "notifications.Channel": "server tls username password sender to",
    },
    f"{ANSWERS}::test_a_link_shows_the_request_and_a_button_answers_it_once": {"notifications.Channel": "person"},
    f"{ANSWERS}::test_a_button_of_mattermost_answers_for_the_person_whom_the_definition_names": {
        "notifications.Channel": "persons",
    },
    f"{SLACK}::test_a_button_of_a_bot_answers_by_socket_mode_within_three_seconds": {
        "notifications.Channel": "bot_token app_token conversation api_url",
    },
    f"{SLACK}::test_a_button_comes_back_to_an_address_signed_and_counts_once": {
        "notifications.Channel": "signing_secret",
    },
    f"{TIMES}::test_what_is_held_is_sent_at_the_end_of_the_quiet_hours": {
        "notifications.NotificationPatch": "quiet_hours",
        "notifications.QuietHours": "start end zone let_pass",
    },
    f"{BUDGETS}::test_a_definition_says_from_which_share_on_it_is_told": {
        "notifications.NotificationPatch": "budget_percent",
    },
    f"{TIMES}::test_the_next_is_told_after_its_time_unless_somebody_answers": {
        "notifications.NotificationPatch": "then",
        "notifications.Then": "after_minutes notification",
    },
    f"{NOTIFICATIONS}::test_only_the_events_of_a_definition_are_told_and_a_jobs_run_as_both": {
        "notifications.NotificationPatch": "events",
        "notifications.NewNotification": "events",
    },
    f"{NOTIFICATIONS}::test_filters_leave_the_agents_teams_and_queues_that_they_name": {
        "notifications.NotificationPatch": "filters",
        "notifications.NotificationFilters": "agents teams queues",
    },
    f"{NOTIFICATIONS}::test_a_notification_that_is_not_enabled_tells_nothing": {
        "notifications.NotificationPatch": "enabled",
    },
    f"{HOOKS}::test_what_a_hook_says_is_stored_shown_and_changed": {
        "hooks.HookPatch": "name description agent team source proof",
        "hooks.NewHook": "name source proof",
    },
    f"{HOOKS}::test_a_hook_runs_on_its_queue_and_needs_one_that_is_there": {"hooks.HookPatch": "queue"},
    f"{HOOKS}::test_a_disabled_hook_starts_nothing_and_says_so": {"hooks.HookPatch": "enabled"},
    f"{HOOKS}::test_the_prompt_has_the_alerts_fields_quoted": {"hooks.HookPatch": "prompt"},
    f"{HOOKS}::test_only_the_events_and_labels_that_a_hook_names_start_something": {"hooks.HookPatch": "events match"},
    f"{HOOKS}::test_news_about_the_same_thing_go_to_the_run_that_works_on_it": {"hooks.HookPatch": "while_running"},
    f"{HOOKS}::test_resolved_starts_nothing_and_is_told_to_the_run": {"hooks.HookPatch": "resolved"},
    f"{HOOKS}::test_a_run_that_waits_for_resolved_stays_open_until_then": {"hooks.HookPatch": "wait_for_resolved"},
    f"{HOOKS}::test_what_comes_too_fast_becomes_one_run_with_a_list": {"hooks.HookPatch": "max_starts_per_minute"},
    f"{HOOKS}::test_nothing_starts_for_a_thing_within_its_cool_down": {"hooks.HookPatch": "cooldown_seconds"},
    f"{HOOKS}::test_priority_is_temporals": {"hooks.HookPatch": "priority"},
    f"{HOOKS}::test_each_way_to_prove_oneself_counts_and_no_other": {
        "hooks.HookProof": "preset kind secret user header prefix encoding signed timestamp_header",
    },
    f"{HOOKS}::test_a_secret_can_be_in_the_body": {"hooks.HookProof": "field"},
    f"{HOOKS}::test_two_secrets_hold_while_one_is_replaced": {"hooks.HookProof": "old_secret"},
    f"{HOOKS}::test_a_signed_time_outside_the_tolerance_is_no_proof": {"hooks.HookProof": "tolerance_seconds"},
    f"{HOOKS}::test_the_id_in_its_header_is_signed_too": {"hooks.HookProof": "id_header"},
    f"{HOOKS}::test_a_try_can_have_a_body_with_headers_and_can_start": {"hooks.HookTest": "body headers start"},
    f"{HOOKS}::test_a_sample_shows_what_would_be_done_and_does_nothing": {"hooks.HookTest": "sample"},
    f"{HOOKS}::test_deliveries_are_listed_with_limit_and_verdict": {"hooks.DeliveryFilters": "limit verdict"},
    f"{REPLIES}::test_a_webhook_gets_the_answer_signed_and_with_its_headers": {
        "hooks.HookPatch": "reply",
        "hooks.HookReply": "kind url secret headers private_networks",
    },
    f"{REPLIES}::test_a_template_is_the_body_with_every_value_as_json": {"hooks.HookReply": "template"},
    f"{REPLIES}::test_a_comment_goes_to_the_issue_of_the_alert": {"hooks.HookReply": "token"},
    f"{WRITES}::test_a_turn_keeps_what_it_was_posted_with": {"worker.TurnBody": "*"},
    f"{WRITES}::test_a_tool_call_keeps_what_it_was_posted_with": {"worker.ToolCallBody": "*"},
    f"{WRITES}::test_a_batch_of_figures_is_stored_whole": {"worker.Batch": "execution_id turns tool_calls tasks"},
    f"{WRITES}::test_a_workers_host_is_shown": {
        "worker.SystemInfo": "*",
        "worker.Start": "system_info",
        "worker.Beat": "system_info",
    },
    f"{WRITES}::test_a_heartbeat_is_shown": {"worker.Beat": "*"},
    f"{WRITES}::test_a_worker_gets_the_id_and_the_address_that_it_asks_for": {
        "worker.Start": "worker_id control_plane_url worker_sdk_version",
    },
    f"{WRITES}::test_a_disconnected_worker_is_gone_and_its_reason_is_kept": {
        "worker.Disconnect": "reason exit_code error_message",
    },
    f"{WRITES}::test_a_change_of_an_execution_is_shown": {"worker.ExecutionPatch": "*"},
    f"{GOES_ON}::test_the_outcome_of_a_run_before_comes_too_late": {"worker.ExecutionPatch": "sequel"},
    f"{WRITES}::test_events_are_stored_once_and_in_their_order": {
        "worker.EventsBody": "events after",
        "worker.Event": "event_type data timestamp event_id after",
    },
    f"{WRITES}::test_a_session_is_kept_and_replaced_from_a_message_on": {
        "worker.SessionBody": "session_id user_id messages metadata first",
    },
    f"{WRITES}::test_a_request_for_approval_shows_what_it_is_about": {"worker.Approval": "*"},
    f"{WRITES}::test_a_scheduled_run_has_its_row": {
        "worker.JobExecution": (
            "execution_id organization_id entity_type entity_id prompt trigger_type trigger_metadata job_id "
            "worker_queue_id"
        ),
        "worker.JobStatus": "status duration_ms error_message",
    },
    f"{WRITES}::test_an_update_lock_is_held_by_one_worker_for_its_time": {
        "worker.LockBody": "worker_id lock_duration_seconds",
    },
    f"{WRITES}::test_requests_and_groups_are_several_writes": {"worker.Requests": "requests groups"},
}


def routes() -> list[Edge]:
    single = [route for resource in RESOURCES for route in resource.ROUTES]
    return [route for route in [*batch.routes(single), *single] if isinstance(route, Edge)]


def inside(annotation: Any) -> Iterator[Any]:
    """Yield the models and typed dictionaries within a type."""
    if is_typeddict(annotation) or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        yield annotation
    for inner in get_args(annotation):
        yield from inside(inner)


def label(model: Any) -> str:
    return f"{model.__module__.rpartition('.')[2]}.{model.__name__}"


def where_defined(model: type[BaseModel], name: str) -> str:
    return label(next(one for one in model.__mro__ if name in inspect.get_annotations(one)))


@functools.cache
def fields() -> frozenset[str]:
    """Return every field that a route takes, as module.Model.field; those that are refused are left out."""
    found: set[str] = set()
    seen: set[Any] = set()
    waiting = [model for edge in routes() for model in (edge.models.body, edge.models.query) if model is not None]
    while waiting:
        model = waiting.pop()
        if model in seen:
            continue
        seen.add(model)
        if is_typeddict(model):
            found |= {f"{label(model)}.{name}" for name in model.__annotations__}
            continue
        marks = fields_of(model)
        for name, field in model.model_fields.items():
            waiting += inside(field.annotation)
            sent = field.alias or name
            if not issubclass(model, RootModel) and marks[sent] is None:
                found.add(f"{where_defined(model, name)}.{sent}")
    return frozenset(found)


def shown() -> dict[str, list[str]]:
    """Return the tests of each field."""
    found: dict[str, list[str]] = {}
    for test, models in EFFECTS.items():
        for model, names in models.items():
            every = [field.rpartition(".")[2] for field in fields() if field.rpartition(".")[0] == model]
            for name in every if names == "*" else names.split():
                found.setdefault(f"{model}.{name}", []).append(test)
    return found


def test_every_field_of_every_route_has_a_test_of_its_effect() -> None:
    assert len(fields()) > 300
    assert sorted(fields() - set(shown())) == [], "give them an effect and a test of it, or refuse them: NotSupported"


def test_no_effect_is_told_of_a_field_that_is_not_there() -> None:
    assert sorted(set(shown()) - fields()) == []


@pytest.mark.parametrize("test", EFFECTS)
def test_the_test_is_there_and_is_about_the_field(test: str) -> None:
    path, _, function = test.partition("::")
    text = source(ROOT / path, function)
    for model, names in EFFECTS[test].items():
        if names == "*":  # the test goes through the fields of the model itself
            assert f"worker.{model.rpartition('.')[2]}" in text, (test, model)
            continue
        for name in names.split():
            assert name in text, f"{test} does not name {model}.{name}"


def source(path: Path, function: str) -> str:
    """Return the text of a test with its decorators, and of what it uses of its module."""
    text, parts = parsed(path)
    wanted, used = [function] if function else list(parts), set[str]()
    if function:
        assert function in parts and function.startswith("test_"), f"{path} has no {function}"
    while wanted:
        name = wanted.pop()
        if name not in used and name in parts:
            used.add(name)
            wanted += [node.id for node in ast.walk(parts[name]) if isinstance(node, ast.Name)]
    return "\n".join(segment(text, parts[name]) for name in sorted(used))


@functools.cache
def parsed(path: Path) -> tuple[str, dict[str, ast.stmt]]:
    text = path.read_text()
    return text, {name: node for node in ast.parse(text).body for name in names_of(node)}


def names_of(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def segment(text: str, node: ast.stmt) -> str:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(each.lineno for each in decorators)])
    return "\n".join(text.splitlines()[first - 1 : node.end_lineno])


def test_the_check_sees_a_field_without_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    test = f"{DEFINITIONS}::test_a_rule_that_wants_a_reason_is_not_answered_without_one"
    rest = {name: models for name, models in EFFECTS.items() if name != test}
    monkeypatch.setattr("tests.unit.server.test_fields.EFFECTS", rest)
    assert sorted(fields() - set(shown())) == ["definitions.RulePatch.require_reason"]
