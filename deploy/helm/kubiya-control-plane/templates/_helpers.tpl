{{- define "plane.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "plane.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end }}

{{- define "plane.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "plane.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "plane.name" .) }}
{{- end }}

{{- define "plane.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* What every pod of this chart has: the restricted Pod Security Standard, and where it may run. */ -}}
{{- define "plane.pod" -}}
serviceAccountName: {{ include "plane.serviceAccount" . }}
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "plane.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: ["ALL"]
resources:
  {{- toYaml .Values.resources | nindent 2 }}
{{- end }}

{{- /* How Temporal is reached: variables. Secrets are files, which are read again when they change. */ -}}
{{- define "plane.temporal" -}}
{{- $tls := .Values.temporal.tls }}
{{- if not (kindIs "invalid" $tls.enabled) }}
- name: TEMPORAL_TLS
  value: {{ $tls.enabled | quote }}
{{- end }}
{{- with $tls.serverName }}
- name: TEMPORAL_TLS_SERVER_NAME
  value: {{ . | quote }}
{{- end }}
{{- with $tls.ca }}
- name: TEMPORAL_TLS_CA
  value: /etc/kubiya/temporal-tls/{{ . }}
{{- end }}
{{- with $tls.cert }}
- name: TEMPORAL_TLS_CERT
  value: /etc/kubiya/temporal-tls/{{ . }}
{{- end }}
{{- with $tls.key }}
- name: TEMPORAL_TLS_KEY
  value: /etc/kubiya/temporal-tls/{{ . }}
{{- end }}
{{- if .Values.temporal.apiKeySecret }}
- name: TEMPORAL_API_KEY_FILE
  value: /etc/kubiya/temporal/{{ .Values.temporal.apiKey }}
{{- with .Values.temporal.workerApiKey }}
- name: TEMPORAL_WORKER_API_KEY_FILE
  value: /etc/kubiya/temporal/{{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "plane.temporalMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .Values.temporal.tls.secret }}
- name: temporal-tls
  mountPath: /etc/kubiya/temporal-tls
  readOnly: true
{{- end }}
{{- if .Values.temporal.apiKeySecret }}
- name: temporal
  mountPath: /etc/kubiya/temporal
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "plane.temporalVolumes" -}}
- name: tmp
  emptyDir: {}
{{- with .Values.temporal.tls.secret }}
- name: temporal-tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.temporal.apiKeySecret }}
- name: temporal
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The variables of the server, without the key `env`; may be empty. */ -}}
{{- define "plane.env" -}}
{{- $values := .Values }}
{{- $url := $values.publicUrl }}
{{- if and (not $url) $values.ingress.enabled }}{{ $url = printf "%s://%s" (ternary "https" "http" (not (empty $values.ingress.tlsSecret))) $values.ingress.host }}{{ end }}
{{- if $values.database.existingSecret }}
- name: KUBIYA_DATABASE_FILE
  value: /etc/kubiya/database/{{ $values.database.key }}
{{- end }}
{{- with include "plane.temporal" . | trim }}
{{ . }}
{{- end }}
{{- with $url }}
- name: KUBIYA_PUBLIC_URL
  value: {{ . | quote }}
{{- end }}
{{- with $values.litellmApiBase }}
- name: LITELLM_API_BASE
  value: {{ . | quote }}
{{- end }}
{{- with $values.existingSecret }}
- name: LITELLM_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: litellm-api-key
      optional: true
{{- end }}
{{- if $values.oidc.issuer }}
- name: KUBIYA_OIDC_ISSUER
  value: {{ $values.oidc.issuer | quote }}
- name: KUBIYA_OIDC_CLIENT_ID
  value: {{ $values.oidc.clientId | quote }}
- name: KUBIYA_OIDC_ROLES
  value: {{ $values.oidc.roles | quote }}
{{- with $values.oidc.groupsClaim }}
- name: KUBIYA_OIDC_GROUPS_CLAIM
  value: {{ . | quote }}
{{- end }}
{{- with $url }}
- name: KUBIYA_OIDC_URL
  value: {{ . | quote }}
{{- end }}
{{- if $values.oidc.existingSecret }}
- name: KUBIYA_OIDC_CLIENT_SECRET_FILE
  value: /etc/kubiya/oidc/client-secret
{{- end }}
{{- end }}
{{- with $values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}
