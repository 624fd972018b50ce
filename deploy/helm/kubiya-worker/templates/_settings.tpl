{{/* Written by scripts/docs from kubiya_worker/settings/table.py. */}}
{{- define "worker.settings" -}}
{{- $variables := dict
  "queueId" "QUEUE_ID"
  "controlPlaneUrl" "CONTROL_PLANE_URL"
  "environmentName" "ENVIRONMENT_NAME"
  "heartbeatInterval" "HEARTBEAT_INTERVAL"
  "logLevel" "LOG_LEVEL"
  "logFormat" "KUBIYA_LOG_FORMAT"
  "debug" "KUBIYA_DEBUG"
  "maxConcurrentActivities" "MAX_CONCURRENT_ACTIVITIES"
  "modelSlots" "KUBIYA_MODEL_SLOTS"
  "gracePeriod" "KUBIYA_GRACE_PERIOD"
  "caFile" "KUBIYA_CA_FILE"
  "temporalHost" "TEMPORAL_HOST"
  "temporalNamespace" "TEMPORAL_NAMESPACE"
  "taskQueue" "TEMPORAL_TASK_QUEUE"
  "deploymentName" "TEMPORAL_DEPLOYMENT_NAME"
  "buildId" "TEMPORAL_WORKER_BUILD_ID"
  "versioningBehavior" "KUBIYA_VERSIONING_BEHAVIOR"
  "temporalTls" "TEMPORAL_TLS"
  "temporalTlsCert" "TEMPORAL_TLS_CERT"
  "temporalTlsKey" "TEMPORAL_TLS_KEY"
  "temporalTlsCa" "TEMPORAL_TLS_CA"
  "temporalTlsServerName" "TEMPORAL_TLS_SERVER_NAME"
  "payloadKeysFile" "KUBIYA_PAYLOAD_KEYS_FILE"
  "payloadCompression" "KUBIYA_PAYLOAD_COMPRESSION"
  "payloadStorage" "KUBIYA_PAYLOAD_STORAGE"
  "payloadStorageFrom" "KUBIYA_PAYLOAD_STORAGE_FROM"
  "otlpEndpoint" "OTEL_EXPORTER_OTLP_ENDPOINT"
  "otlpMetrics" "OTEL_METRICS_EXPORTER"
  "traceRatio" "KUBIYA_TRACE_RATIO"
  "traceModels" "KUBIYA_TRACE_MODELS"
  "keepLongCommands" "KUBIYA_KEEP_LONG_COMMANDS"
  "spoolMaxBytes" "KUBIYA_SPOOL_MAX_BYTES"
  "runFiles" "KUBIYA_RUN_FILES"
  "runFilesMaxCount" "KUBIYA_RUN_FILES_MAX_COUNT"
  "runFilesMaxSize" "KUBIYA_RUN_FILES_MAX_SIZE"
  "runFilesMaxTotal" "KUBIYA_RUN_FILES_MAX_TOTAL"
  "runFilesPatterns" "KUBIYA_RUN_FILES_PATTERNS"
  "extensions" "KUBIYA_EXTENSIONS"
  "extensionVariables" "KUBIYA_EXTENSION_VARIABLES"
  "modelOverride" "KUBIYA_MODEL_OVERRIDE"
  "skipModelValidation" "KUBIYA_SKIP_MODEL_VALIDATION"
  "defaultModel" "LITELLM_DEFAULT_MODEL"
  "modelPrices" "KUBIYA_MODEL_PRICES"
  "litellmApiBase" "LITELLM_API_BASE"
  "enableLocalProxy" "KUBIYA_ENABLE_LOCAL_PROXY"
  "proxyConfigFile" "KUBIYA_PROXY_CONFIG_FILE"
  "openaiBaseUrl" "OPENAI_BASE_URL"
  "modelCompatibility" "KUBIYA_MODEL_COMPATIBILITY"
  "modelIdleTimeout" "KUBIYA_MODEL_IDLE_TIMEOUT"
  "confinement" "KUBIYA_CONFINEMENT"
  "enforceEnabled" "KUBIYA_ENFORCE_ENABLED"
  "enforcerUrl" "ENFORCER_SERVICE_URL"
  "enforcerTimeout" "KUBIYA_ENFORCE_TIMEOUT"
  "policyFile" "KUBIYA_POLICY_FILE"
  "mcpMaxSessions" "KUBIYA_MCP_MAX_SESSIONS"
  "activityTimeout" "KUBIYA_ACTIVITY_TIMEOUT"
-}}
{{- range $value, $variable := $variables }}
{{- $given := index $.Values $value }}
{{- if not (or (kindIs "invalid" $given) (eq (toString $given) "")) }}
- name: {{ $variable }}
  value: {{ kindIs "string" $given | ternary (toJson $given) (toJson $given | quote) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "worker.secrets" -}}
- name: KUBIYA_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "worker.secret" . }}
      key: api-key
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ include "worker.secret" . }}
      key: otel-exporter-otlp-headers
      optional: true
- name: LITELLM_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "worker.secret" . }}
      key: litellm-api-key
      optional: true
- name: KUBIYA_PROXY_CONFIG_JSON
  valueFrom:
    secretKeyRef:
      name: {{ include "worker.secret" . }}
      key: proxy-config-json
      optional: true
- name: OPENAI_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "worker.secret" . }}
      key: openai-api-key
      optional: true
- name: ENFORCER_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "worker.secret" . }}
      key: enforcer-api-key
      optional: true
{{- end }}
