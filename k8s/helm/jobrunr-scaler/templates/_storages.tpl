{{/* The environment: where the configuration is, for commands run in the pod; and users that are in Secrets, because a user cannot be
     a file. */}}
{{- define "jobrunr-scaler.env" -}}
{{- $env := list (dict "name" "JOBRUNR_SCALER_CONFIG" "value" "/etc/jobrunr-scaler/config/config.yaml") -}}
{{- range $name, $storage := .Values.storages -}}
  {{- with ($storage.secret | default dict).usernameKey -}}
    {{- $variable := printf "JOBRUNR_SCALER_STORAGES_%s_USERNAME" ($name | upper | replace "-" "_") -}}
    {{- $ref := dict "name" $storage.secret.name "key" . -}}
    {{- $env = append $env (dict "name" $variable "valueFrom" (dict "secretKeyRef" $ref)) -}}
  {{- end -}}
{{- end -}}
{{- $env = concat $env (.Values.extraEnv | default list) -}}
{{- with $env -}}
env:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* The sources of one projected volume: NAME/password, NAME/url and NAME/ca.crt of every storage. */}}
{{- define "jobrunr-scaler.sources" -}}
{{- $sources := list -}}
{{- range $name, $storage := .Values.storages -}}
  {{- $secret := $storage.secret | default dict -}}
  {{- $items := list -}}
  {{- with $secret.passwordKey -}}
    {{- $items = append $items (dict "key" . "path" (printf "%s/password" $name)) -}}
  {{- end -}}
  {{- with $secret.urlKey -}}
    {{- $items = append $items (dict "key" . "path" (printf "%s/url" $name)) -}}
  {{- end -}}
  {{- with $items -}}
    {{- $sources = append $sources (dict "secret" (dict "name" $secret.name "items" .)) -}}
  {{- end -}}
  {{- with $storage.ca -}}
    {{- $items := list (dict "key" (.key | default "ca.crt") "path" (printf "%s/ca.crt" $name)) -}}
    {{- $kind := .secret | empty | ternary "configMap" "secret" -}}
    {{- $sources = append $sources (dict $kind (dict "name" (.secret | default .configMap) "items" $items)) -}}
  {{- end -}}
{{- end -}}
{{- with $sources -}}
{{ toYaml . }}
{{- end -}}
{{- end -}}

{{/* The volumes of a pod that reads the storages. */}}
{{- define "jobrunr-scaler.storageVolumes" -}}
- name: config
  configMap:
    name: {{ include "jobrunr-scaler.fullname" . }}
{{- with include "jobrunr-scaler.sources" . }}
- name: storages
  projected:
    defaultMode: 0440
    sources:
      {{- . | nindent 6 }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The volumes of a pod that also has the scaler's certificate. */}}
{{- define "jobrunr-scaler.volumes" -}}
{{ include "jobrunr-scaler.storageVolumes" . }}
{{- with .Values.tls.secretName }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{- define "jobrunr-scaler.storageVolumeMounts" -}}
# Directories, not subPath: Kubernetes never updates files that are mounted with subPath.
- name: config
  mountPath: /etc/jobrunr-scaler/config
  readOnly: true
{{- if include "jobrunr-scaler.sources" . }}
- name: storages
  mountPath: /etc/jobrunr-scaler/storages
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "jobrunr-scaler.volumeMounts" -}}
{{ include "jobrunr-scaler.storageVolumeMounts" . }}
{{- if .Values.tls.secretName }}
- name: tls
  mountPath: /etc/jobrunr-scaler/tls
  readOnly: true
{{- end }}
{{- end -}}
