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

{{/* The scaler's value of app.kubernetes.io/name. */}}
{{- define "jobrunr-scaler.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "jobrunr-scaler.selectorLabels" -}}
app.kubernetes.io/name: {{ include "jobrunr-scaler.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "jobrunr-scaler.labels" -}}
{{ include "jobrunr-scaler.labelsOf" (list "scaler" (include "jobrunr-scaler.name" .) . dict) }}
{{- end -}}

{{/* The labels of an object; its arguments are the component, the name, the root, and further labels, which replace those of commonLabels.
     Service, NetworkPolicy and disruption budget select pods by name and instance, so the pods of each component have a name of their
     own. */}}
{{- define "jobrunr-scaler.labelsOf" -}}
{{- $root := index . 2 -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version)
  "app.kubernetes.io/name" (index . 1)
  "app.kubernetes.io/instance" $root.Release.Name
  "app.kubernetes.io/component" (index . 0)
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "app.kubernetes.io/managed-by" $root.Release.Service
-}}
{{- /* One map, because a key must not be there twice. Not `merge`, which drops empty values and fails with null. */ -}}
{{- $labels := dict -}}
{{- range list $root.Values.commonLabels (index . 3) $own -}}
  {{- range $key, $value := . }}{{ $_ := set $labels $key $value }}{{ end -}}
{{- end -}}
{{- toYaml $labels -}}
{{- end -}}

{{/* The full name with another end, short enough for a label. Its arguments are the end, and the root. */}}
{{- define "jobrunr-scaler.nameWith" -}}
{{- $end := first . -}}
{{- printf "%s-%s" (include "jobrunr-scaler.fullname" (last .) | trunc (sub 62 (len $end) | int) | trimSuffix "-") $end -}}
{{- end -}}

{{/* Where the pods of the other components run. */}}
{{- define "jobrunr-scaler.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- /* podAntiAffinity keeps the scaler's pods apart; the others may run beside them. */}}
{{- with omit (.Values.affinity | default dict) "podAntiAffinity" }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Whether OpenShift chooses user and groups. */}}
{{- define "jobrunr-scaler.isOpenshift" -}}
{{- $isThere := .Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- if or (eq .Values.openshift "always") (and (eq .Values.openshift "auto") $isThere) -}}true{{- end -}}
{{- end -}}

{{- define "jobrunr-scaler.podSecurityContext" -}}
{{- $default := dict "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- if not (include "jobrunr-scaler.isOpenshift" .) -}}
{{- /* The mounted secrets belong to the group, so that they need not be world-readable. */ -}}
{{- $default = merge $default (dict "runAsUser" 65532 "runAsGroup" 65532 "fsGroup" 65532) -}}
{{- end -}}
{{- include "jobrunr-scaler.merged" (list $default .Values.podSecurityContext) -}}
{{- end -}}

{{- define "jobrunr-scaler.securityContext" -}}
{{- $default := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "capabilities" (dict "drop" (list "ALL")) -}}
{{- include "jobrunr-scaler.merged" (list $default .Values.securityContext) -}}
{{- end -}}

{{/* A map with the keys of another in place of its own; keys that are null are removed. */}}
{{- define "jobrunr-scaler.merged" -}}
{{- $merged := mergeOverwrite (first . | deepCopy) (last . | default dict | deepCopy) -}}
{{- range $key, $value := $merged -}}
  {{- if kindIs "invalid" $value }}{{ $_ := unset $merged $key }}{{ end -}}
{{- end -}}
{{- toYaml $merged -}}
{{- end -}}

{{/* What a probe asks; its argument is the path over HTTP, the service over gRPC, and the root. */}}
{{- define "jobrunr-scaler.probe" -}}
{{- $path := index . 0 -}}
{{- $service := index . 1 -}}
{{- if (index . 2).Values.tls.secretName -}}
httpGet:
  port: http
  path: {{ $path }}
{{- else -}}
grpc:
  port: 9090
  service: {{ $service }}
{{- end -}}
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
http:
  address: {{ .Values.http.enabled | ternary (printf "%s:8080" .Values.listenAddress) "off" | quote }}
  page: {{ .Values.http.page }}
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

{{/* The options that name the pods of `protect`. */}}
{{- define "jobrunr-scaler.protectedPods" -}}
{{- $options := list -}}
{{- range .Values.protect.namespaces | default (list .Release.Namespace) -}}
  {{- $options = append $options (printf "--namespace=%s" .) -}}
{{- end -}}
{{- with .Values.protect.selector -}}
  {{- $options = append $options (printf "--selector=%s" .) -}}
{{- end -}}
{{- toYaml $options -}}
{{- end -}}

{{/* The annotations of what removes the costs; its argument is the weight, by which Helm creates hooks in order. */}}
{{- define "jobrunr-scaler.removalHook" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
