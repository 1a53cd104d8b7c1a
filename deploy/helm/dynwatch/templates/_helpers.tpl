{{- define "dynwatch.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "dynwatch.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "dynwatch.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "dynwatch.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "dynwatch.selector" -}}
app.kubernetes.io/name: {{ include "dynwatch.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "dynwatch.labels" -}}
{{ include "dynwatch.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: agent
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "dynwatch.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "dynwatch.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "dynwatch.image" -}}
{{- $name := .Values.image.repository -}}
{{- with .Values.global.imageRegistry }}{{ $name = printf "%s/%s" (trimSuffix "/" .) $name }}{{ end -}}
{{- if .Values.image.digest -}}
{{ $name }}@{{ .Values.image.digest }}
{{- else -}}
{{ $name }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- /* The configuration, with the address that the port and the probes below expect. */ -}}
{{- define "dynwatch.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $web := default dict $config.web -}}
{{- if $web.listen }}{{ fail "config.web.listen: use the value port, which the probes and monitors follow" }}{{ end -}}
{{- $_ := set $config "web" (merge (dict "listen" (printf "0.0.0.0:%v" .Values.port)) $web) -}}
{{- toYaml $config -}}
{{- end -}}
