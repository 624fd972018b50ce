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

{{- /* This release's version and those before it, as a JSON list: current, build, name of the Deployment, tag, replicas, and the least number with KEDA. */ -}}
{{- define "worker.versions" -}}
{{- $root := . }}
{{- $build := include "worker.build" . }}
{{- $name := include "worker.deployment" (dict "root" . "build" $build) }}
{{- $versions := list (dict "current" true "build" $build "name" $name "tag" (.Values.image.tag | default .Chart.AppVersion) "replicas" .Values.replicaCount "least" .Values.keda.minReplicas) }}
{{- $names := list $name }}
{{- range .Values.previousVersions }}
{{- $earlier := .buildId | default .tag | required "each of previousVersions needs a tag" }}
{{- if eq $earlier $build }}{{ fail (printf "previousVersions has %s, which is the current version" $earlier) }}{{ end }}
{{- $name = include "worker.deployment" (dict "root" $root "build" $earlier) }}
{{- if has $name $names }}{{ fail (printf "previousVersions: the Deployment of %s has the name of another version's, %s; give it another buildId" $earlier $name) }}{{ end }}
{{- $names = append $names $name }}
{{- $replicas := dig "replicas" 1 . }}
{{- $versions = append $versions (dict "current" false "build" $earlier "name" $name "tag" (.tag | default $earlier) "replicas" $replicas "least" (dig "replicas" $root.Values.keda.minReplicas .)) }}
{{- end }}
{{- toJson $versions }}
{{- end }}

{{- /* The labels that select the pods of a version, from root and build. */ -}}
{{- define "worker.versionSelector" -}}
{{ include "worker.selector" .root }}
{{- with include "worker.buildLabel" .build }}
{{ . }}
{{- end }}
{{- end }}
