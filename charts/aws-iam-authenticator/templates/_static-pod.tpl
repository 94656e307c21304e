{{- define "aia.staticPod" -}}
apiVersion: v1
kind: Pod
metadata:
  name: aws-iam-authenticator
  namespace: kube-system
  labels:
    {{- include "aia.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "aia.podSpec" . | nindent 2 }}
{{- end -}}
