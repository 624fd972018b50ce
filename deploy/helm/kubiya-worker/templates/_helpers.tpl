{{- define "worker.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "worker.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "worker.labels" -}}
{{ include "worker.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "worker.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "worker.name" .) }}
{{- end }}

{{- define "worker.secret" -}}
{{- if .Values.existingSecret }}{{ .Values.existingSecret }}{{ else }}{{ include "worker.name" . }}{{ end }}
{{- end }}

{{- /* The build id of this release's version; empty without a worker deployment. */ -}}
{{- define "worker.build" -}}
{{- if .Values.deploymentName }}{{ .Values.buildId | default .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* The name of a version's Deployment, from root and build. Each version has its own Deployment. */ -}}
{{- define "worker.deployment" -}}
{{- $name := include "worker.name" .root }}
{{- if .build }}{{ printf "%s-%s" ($name | trunc 40) (regexReplaceAll "[^a-z0-9]+" (lower .build) "-") | trunc 63 | trimSuffix "-" }}{{ else }}{{ $name }}{{ end }}
{{- end }}

{{- define "worker.buildLabel" -}}
{{- if . }}kubiya.ai/build: {{ regexReplaceAll "[^A-Za-z0-9._-]" . "_" | trunc 63 | trimSuffix "-" | trimSuffix "." | trimSuffix "_" | quote }}{{ end }}
{{- end }}
