{{/* Name of the chart, cut to what a label may hold. */}}
{{- define "driftline.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Name of every object. Cut so that a StatefulSet's pods and the suffixes below still fit into 63 characters. */}}
{{- define "driftline.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 46 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 46 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 46 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "driftline.selectorLabels" -}}
app.kubernetes.io/name: {{ include "driftline.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "driftline.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "driftline.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "driftline.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "driftline.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "driftline.image" -}}
{{- $registry := default .Values.image.registry .Values.global.imageRegistry }}
{{- $name := ternary (printf "%s/%s" $registry .Values.image.repository) .Values.image.repository (ne $registry "") }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $name .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "driftline.imagePullSecrets" -}}
{{- with concat .Values.imagePullSecrets .Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* limits.disk: the volume of the state less an eighth, which file systems take for themselves and a bound may be noticed late by. */}}
{{- define "driftline.disk" -}}
{{- $key := "size" }}
{{- if eq (default "local" .Values.config.state.mode) "cluster" }}{{- $key = "cacheSize" }}{{- else if not .Values.persistence.enabled }}{{- $key = "ephemeralSize" }}{{- end }}
{{- $size := index .Values.persistence $key }}
{{- $bytes := float64 0 }}
{{- if kindIs "string" $size }}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 }}
{{- $bytes = mulf (float64 (regexFind "^[0-9.]+" $size)) (index $units (regexFind "[A-Za-z]*$" $size)) }}
{{- else }}
{{- $bytes = float64 $size }}
{{- end }}
{{- $mebibytes := int64 (divf (mulf $bytes 0.875) 1048576.0) }}
{{- if lt $mebibytes 192 }}
{{- fail (printf "persistence.%s is too small for the state: it must be at least 220Mi" $key) }}
{{- end }}
{{- printf "%dMiB" $mebibytes }}
{{- end }}

{{/* driftline.yaml: the values, the disk there is unless they say it, and the token where there is one. */}}
{{- define "driftline.config" -}}
{{- $config := deepCopy .Values.config }}
{{- $limits := default dict $config.limits }}
{{- if not $limits.disk }}
{{- $_ := set $config "limits" (merge $limits (dict "disk" (include "driftline.disk" .))) }}
{{- end }}
{{- if .Values.auth.existingSecret }}
{{- $token := dict "token_file" (printf "/etc/driftline/secrets/http/%s" .Values.auth.key) }}
{{- $_ := set $config "http" (merge $config.http $token) }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/* Secrets to mount: a map from the name of the folder to the name of the Secret. */}}
{{- define "driftline.secretNames" -}}
{{- $names := dict }}
{{- range $name, $_ := .Values.secrets }}
{{- $_ := set $names $name (printf "%s-%s" (include "driftline.fullname" $) $name) }}
{{- end }}
{{- range $name, $existing := .Values.existingSecrets }}
{{- if $existing }}{{- $_ := set $names $name $existing }}{{- end }}
{{- end }}
{{- with .Values.auth.existingSecret }}{{- $_ := set $names "http" . }}{{- end }}
{{- toJson $names }}
{{- end }}

{{- define "driftline.rulesConfigMap" -}}
{{- if .Values.existingRulesConfigMap }}{{ .Values.existingRulesConfigMap }}{{- else if .Values.rules }}{{ include "driftline.fullname" . }}-rules{{- end }}
{{- end }}

{{- define "driftline.baselinesConfigMap" -}}
{{- if .Values.baselines.existingConfigMap }}{{ .Values.baselines.existingConfigMap }}{{- else if .Values.baselines.files }}{{ include "driftline.fullname" . }}-baselines{{- end }}
{{- end }}

{{/* What no schema can say. Fails with the key to set. */}}
{{- define "driftline.guard" -}}
{{- if not .Values.config.kafka.bootstrap_servers }}
{{- fail "config.kafka.bootstrap_servers is empty: name at least one broker, like [\"kafka:9092\"]" }}
{{- end }}
{{- if not .Values.config.kafka.topics }}
{{- fail "config.kafka.topics is empty: name at least predictions: [TOPIC]" }}
{{- end }}
{{- if not .Values.config.models }}
{{- fail "config.models is empty: name at least one model" }}
{{- end }}
{{- if and .Values.rules .Values.existingRulesConfigMap }}
{{- fail "rules and existingRulesConfigMap exclude each other" }}
{{- end }}
{{- $sources := 0 }}
{{- range list .Values.baselines.files .Values.baselines.existingConfigMap .Values.baselines.existingClaim }}
{{- if . }}{{- $sources = add1 $sources }}{{- end }}
{{- end }}
{{- if gt $sources 1 }}
{{- fail "baselines.files, baselines.existingConfigMap and baselines.existingClaim exclude each other" }}
{{- end }}
{{- range $name, $_ := .Values.secrets }}
{{- if index $.Values.existingSecrets $name }}
{{- fail (printf "secrets.%s and existingSecrets.%s exclude each other" $name $name) }}
{{- end }}
{{- if and (eq $name "http") $.Values.auth.existingSecret }}
{{- fail "secrets.http and auth.existingSecret exclude each other" }}
{{- end }}
{{- end }}
{{- if and (not .Values.config.http.open_reads) (not .Values.auth.existingSecret) (not (hasKey .Values.config.http "token_file")) }}
{{- fail "config.http.open_reads is false, so nobody could read /metrics: set auth.existingSecret" }}
{{- end }}
{{- if and (ne (default "local" .Values.config.state.mode) "cluster") (gt (int .Values.replicas) 1) }}
{{- fail "replicas above 1 need config.state.mode: cluster: with local state each pod would judge a part of the events for itself" }}
{{- end }}
{{- end }}

{{/* "true" where state is kept on a volume. In cluster mode it is kept in Kafka and none is needed. */}}
{{- define "driftline.persistent" -}}
{{- if and .Values.persistence.enabled (ne (default "local" .Values.config.state.mode) "cluster") }}true{{ end }}
{{- end }}
