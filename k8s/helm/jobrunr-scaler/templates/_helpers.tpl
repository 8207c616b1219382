{{/* The name of all objects. */}}
{{- define "jobrunr-scaler.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "jobrunr-scaler.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "jobrunr-scaler.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{ include "jobrunr-scaler.selectorLabels" . }}
app.kubernetes.io/component: scaler
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "jobrunr-scaler.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "jobrunr-scaler.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "jobrunr-scaler.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "jobrunr-scaler.triggerAuthentication" -}}
{{- .Values.tls.clusterTriggerAuthentication.name | default (include "jobrunr-scaler.fullname" .) -}}
{{- end -}}

{{/* The scalerAddress of triggers. */}}
{{- define "jobrunr-scaler.address" -}}
{{ include "jobrunr-scaler.fullname" . }}.{{ .Release.Namespace }}:{{ .Values.service.port }}
{{- end -}}

{{/* The settings that need a restart; the program notices changes of `storages` by itself. */}}
{{- define "jobrunr-scaler.settings" -}}
listen: {{ printf "%s:9090" .Values.listenAddress | quote }}
http: {{ .Values.http.enabled | ternary (printf "%s:8080" .Values.listenAddress) "off" | quote }}
log:
  format: {{ .Values.log.format }}
  filter: {{ .Values.log.filter | quote }}
{{- if .Values.tls.secretName }}
tls:
  certFile: /etc/jobrunr-scaler/tls/tls.crt
  keyFile: /etc/jobrunr-scaler/tls/tls.key
  {{- if .Values.tls.mutual }}
  clientCaFile: /etc/jobrunr-scaler/tls/ca.crt
  {{- end }}
{{- end }}
{{- end -}}

{{- define "jobrunr-scaler.storages" -}}
storages:
{{- range $name, $storage := .Values.storages }}
  {{ $name }}:
  {{- $secret := $storage.secret | default dict }}
  {{- if $secret.urlKey }}
    urlFile: /etc/jobrunr-scaler/storages/{{ $name }}/url
  {{- end }}
  {{- if $secret.passwordKey }}
    passwordFile: /etc/jobrunr-scaler/storages/{{ $name }}/password
  {{- end }}
  {{- with omit $storage "secret" "ca" }}
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}
