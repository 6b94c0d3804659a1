{{- define "dragoman.name" -}}
{{- if contains "dragoman" .Release.Name }}{{ .Release.Name | trunc 53 | trimSuffix "-" }}{{ else }}{{ printf "%s-dragoman" .Release.Name | trunc 53 | trimSuffix "-" }}{{ end }}
{{- end -}}

{{- define "dragoman.selector" -}}
app.kubernetes.io/name: dragoman
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "dragoman.labels" -}}
{{ include "dragoman.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: gateway
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "dragoman.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end -}}

{{- define "dragoman.secret" -}}
{{- if .Values.secret.existing }}{{ .Values.secret.existing }}{{ else if .Values.secret.values }}{{ include "dragoman.name" . }}{{ end }}
{{- end -}}

{{- define "dragoman.claim" -}}
{{- .Values.persistence.existingClaim | default (include "dragoman.name" .) }}
{{- end -}}

{{- /* Refuses values that would make pods which cannot work. One volume holds the logins, and only one program may renew them. */ -}}
{{- define "dragoman.check" -}}
{{- if and .Values.persistence.enabled (or .Values.autoscaling.enabled (gt (int .Values.replicas) 1)) }}
{{- fail "persistence and several replicas do not go together: logins would be renewed by each of them. Use API keys, put the ledger into Postgres ([ledger] url), and set persistence.enabled=false." }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas." }}
{{- end }}
{{- if and (contains "${" .Values.config) (not (include "dragoman.secret" .)) (not .Values.extraEnv) }}
{{- fail "config names variables, such as ${PROXY_API_KEY}, and nothing gives them: set secret.existing, secret.values or extraEnv." }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled (not (include "dragoman.secret" .)) }}
{{- fail "serviceMonitor needs secret.existing or secret.values: Prometheus shows a key from it." }}
{{- end }}
{{- end -}}
