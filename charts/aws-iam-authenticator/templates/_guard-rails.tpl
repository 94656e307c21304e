{{/* A list of CEL strings; a JSON string is one. */}}
{{- define "aia.celList" -}}
{{- $all := list -}}
{{- range . -}}{{- $all = append $all (toJson .) -}}{{- end -}}
[{{ join ", " $all }}]
{{- end -}}

{{/* Whether whoever asks may give the rights that open a cluster. */}}
{{- define "aia.isPrivileged" -}}
{{- $p := .Values.guardRails.privileged -}}
request.userInfo.username in {{ include "aia.celList" $p.users }} || (has(request.userInfo.groups) && request.userInfo.groups.exists(g, g in {{ include "aia.celList" $p.groups }}))
{{- end -}}

{{- define "aia.binding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "aia.labels" .root | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: {{ toJson .root.Values.guardRails.validationActions }}
{{- end -}}
