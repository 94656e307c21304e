{{- define "aia.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "aia.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "aia.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "aia.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "aia.selectorLabels" -}}
app.kubernetes.io/name: {{ include "aia.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "aia.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "aia.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "aia.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "aia.hasServiceAccount" -}}
{{- if has .Values.kind (list "DaemonSet" "Deployment") -}}true{{- end -}}
{{- end -}}

{{- define "aia.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "aia.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* Who is given the roles. */}}
{{- define "aia.subjects" -}}
{{- if .Values.rbac.subjects -}}
{{- toYaml .Values.rbac.subjects -}}
{{- else if include "aia.hasServiceAccount" . -}}
- kind: ServiceAccount
  name: {{ include "aia.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- else -}}
- kind: User
  name: aws-iam-authenticator
  apiGroup: rbac.authorization.k8s.io
{{- end -}}
{{- end -}}

{{/* The ConfigMaps that the backends read, as a list in JSON. */}}
{{- define "aia.configMapNames" -}}
{{- $names := list -}}
{{- if has "AuthenticatorConfigMap" .Values.backendModes -}}{{- $names = append $names "aws-iam-authenticator" -}}{{- end -}}
{{- if has "EKSConfigMap" .Values.backendModes -}}{{- $names = append $names "aws-auth" -}}{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{- define "aia.servingSecret" -}}
{{- .Values.tls.secretName | default (ternary (printf "%s-serving" (include "aia.fullname" .)) "" .Values.tls.certManager.enabled) -}}
{{- end -}}

{{- define "aia.clientCASecret" -}}
{{- .Values.tls.clientCA.secretName | default (ternary (include "aia.servingSecret" .) "" .Values.tls.certManager.enabled) -}}
{{- end -}}

{{- define "aia.serviceHost" -}}
{{- printf "%s.%s.svc" (include "aia.fullname" .) .Release.Namespace -}}
{{- end -}}

{{/* What a schema cannot say. */}}
{{- define "aia.check" -}}
{{- $v := .Values -}}
{{- if and (ne $v.kind "None") (not $v.clusterID) (not (has "AuthenticatorConfigMap" $v.backendModes)) -}}
{{- fail "clusterID is missing: set it to the ID that clients put into their tokens, or add the backend AuthenticatorConfigMap, whose clusterID is taken" -}}
{{- end -}}
{{- $mounted := has "MountedFile" $v.backendModes -}}
{{- if and $v.config $v.configPath -}}
{{- fail "config and configPath are both set: the configuration is one or the other" -}}
{{- end -}}
{{- if and $mounted (not $v.config) (not $v.configPath) -}}
{{- fail "backendModes has MountedFile, but neither config nor configPath is set: it would map nobody" -}}
{{- end -}}
{{- if and $v.config (eq $v.kind "StaticPod") -}}
{{- fail "a static pod cannot mount a ConfigMap: write the configuration to a file on the host and set configPath" -}}
{{- end -}}
{{- if and $v.configPath (eq $v.kind "Deployment") -}}
{{- fail "configPath is a file on a control-plane node, which a Deployment does not run on: set config" -}}
{{- end -}}
{{- if eq $v.kind "Deployment" -}}
{{- if not (include "aia.servingSecret" .) -}}
{{- fail "kind Deployment needs a serving certificate: set tls.secretName, or tls.certManager.enabled and its issuerRef" -}}
{{- end -}}
{{- if not (include "aia.clientCASecret" .) -}}
{{- fail "kind Deployment needs to know who may ask: set tls.clientCA.secretName to the authority of the API server's client certificate, or tls.certManager.enabled" -}}
{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.certManager.issuerRef) -}}
{{- fail "tls.certManager.enabled needs tls.certManager.issuerRef: the name of an Issuer that is an authority of its own" -}}
{{- end -}}
{{- end -}}
{{- if $v.networkPolicy.enabled -}}
{{- if ne $v.kind "Deployment" -}}
{{- fail "networkPolicy has no effect on pods on the host's network: it is for kind Deployment" -}}
{{- end -}}
{{- if not $v.networkPolicy.apiServers -}}
{{- fail "networkPolicy.apiServers is empty: nobody could log in. Name the API servers as peers, such as {podSelector: {matchLabels: …}}" -}}
{{- end -}}
{{- end -}}
{{- if and (or $v.metrics.podMonitor.enabled $v.metrics.serviceMonitor.enabled) (not $v.metrics.address) -}}
{{- fail "metrics.address is empty: without --metrics-address, metrics are for the loopback alone and every scrape would fail" -}}
{{- end -}}
{{- range $mapping := $v.mappings -}}
{{- if eq (empty $mapping.arn) (empty $mapping.sso) -}}
{{- fail (printf "mappings: %s must have exactly one of arn and sso" $mapping.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
