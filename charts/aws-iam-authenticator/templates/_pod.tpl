{{/* The arguments of the container. */}}
{{- define "aia.args" -}}
{{- $v := .Values -}}
{{- $onHost := ne $v.kind "Deployment" -}}
- server
{{- with $v.clusterID }}
- --cluster-id={{ . }}
{{- end }}
- --backend-mode={{ join "," $v.backendModes }}
{{- if or $v.config $v.configPath }}
- --config=/etc/aws-iam-authenticator/{{ if $v.configPath }}{{ base $v.configPath }}{{ else }}config.yaml{{ end }}
{{- end }}
- --state-dir=/var/aws-iam-authenticator
{{- if or $v.host.pregenerated (not $onHost) }}
- --kubeconfig-pregenerated=true
{{- else }}
- --generate-kubeconfig=/etc/kubernetes/aws-iam-authenticator/kubeconfig.yaml
{{- end }}
{{- if not $onHost }}
- --address=0.0.0.0
- --client-ca-file=/etc/aws-iam-authenticator-client-ca/ca.crt
{{- end }}
- --port={{ $v.ports.webhook }}
- --health-port={{ $v.ports.health }}
{{- with $v.metrics.address }}
- --metrics-address={{ . }}
{{- end }}
{{- if and $v.reusePort (eq $v.kind "DaemonSet") }}
- --reuse-port=true
{{- end }}
{{- if eq $v.kind "StaticPod" }}
- --kubeconfig={{ $v.staticPod.kubeconfig }}
{{- else if and (not $onHost) $v.apiServer.kubeconfig.secretName }}
- --kubeconfig=/etc/aws-iam-authenticator-kubeconfig/kubeconfig
{{- end }}
{{- with $v.partition }}
- --partition={{ . }}
{{- end }}
{{- with $v.region }}
- --region={{ . }}
{{- end }}
{{- with $v.allowedRegions }}
- --allowed-regions={{ join "," . }}
{{- end }}
- --lease-name={{ $v.lease.name }}
- --lease-namespace={{ $v.lease.namespace }}
- --log-format={{ $v.log.format }}
- --log-verbosity={{ $v.log.level }}
{{- range $v.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* The environment of the container. */}}
{{- define "aia.env" -}}
{{- $v := .Values -}}
{{- if eq $v.kind "DaemonSet" }}
# The API server of this node: neither the cluster's DNS nor kube-proxy need to be up for it.
- name: KUBERNETES_SERVICE_HOST
  {{- if $v.apiServer.host }}
  value: {{ $v.apiServer.host | quote }}
  {{- else }}
  valueFrom:
    fieldRef:
      fieldPath: status.hostIP
  {{- end }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ $v.apiServer.port | quote }}
{{- end }}
{{- with $v.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "aia.volumes" -}}
{{- $v := .Values -}}
{{- if eq $v.kind "Deployment" -}}
- name: serving
  secret:
    secretName: {{ include "aia.servingSecret" . }}
    defaultMode: 0440
    items:
      - key: {{ $v.tls.certKey }}
        path: cert.pem
      - key: {{ $v.tls.keyKey }}
        path: key.pem
- name: client-ca
  secret:
    secretName: {{ include "aia.clientCASecret" . }}
    defaultMode: 0440
    items:
      - key: {{ $v.tls.clientCA.key }}
        path: ca.crt
{{- with $v.apiServer.kubeconfig.secretName }}
- name: kubeconfig
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items:
      - key: {{ $v.apiServer.kubeconfig.key }}
        path: kubeconfig
{{- end }}
{{- else -}}
- name: state
  hostPath:
    path: {{ $v.host.stateDir }}
    type: {{ ternary "Directory" "DirectoryOrCreate" $v.host.pregenerated }}
{{- if not $v.host.pregenerated }}
- name: webhook-kubeconfig
  hostPath:
    path: {{ $v.host.kubeconfigDir }}
    type: DirectoryOrCreate
{{- end }}
{{- if eq $v.kind "StaticPod" }}
# The folder, not the file: a file that is replaced would be mounted as it was.
- name: kubeconfig
  hostPath:
    path: {{ dir $v.staticPod.kubeconfig }}
    type: Directory
{{- end }}
{{- with $v.configPath }}
- name: config
  hostPath:
    path: {{ dir . }}
    type: Directory
{{- end }}
{{- end }}
{{- if $v.config }}
- name: config
  configMap:
    name: {{ include "aia.fullname" . }}-config
{{- end }}
{{- end -}}

{{- define "aia.volumeMounts" -}}
{{- $v := .Values -}}
{{- if eq $v.kind "Deployment" -}}
- name: serving
  mountPath: /var/aws-iam-authenticator
  readOnly: true
- name: client-ca
  mountPath: /etc/aws-iam-authenticator-client-ca
  readOnly: true
{{- if $v.apiServer.kubeconfig.secretName }}
- name: kubeconfig
  mountPath: /etc/aws-iam-authenticator-kubeconfig
  readOnly: true
{{- end }}
{{- else -}}
- name: state
  mountPath: /var/aws-iam-authenticator
  readOnly: {{ $v.host.pregenerated }}
{{- if not $v.host.pregenerated }}
- name: webhook-kubeconfig
  mountPath: /etc/kubernetes/aws-iam-authenticator
{{- end }}
{{- if eq $v.kind "StaticPod" }}
- name: kubeconfig
  mountPath: {{ dir $v.staticPod.kubeconfig }}
  readOnly: true
{{- end }}
{{- end }}
{{- if or $v.config $v.configPath }}
- name: config
  mountPath: /etc/aws-iam-authenticator
  readOnly: true
{{- end }}
{{- end -}}

{{/* The pod's specification, for every kind. */}}
{{- define "aia.podSpec" -}}
{{- $v := .Values -}}
{{- $onHost := ne $v.kind "Deployment" -}}
{{- if $onHost -}}
hostNetwork: true
dnsPolicy: Default
priorityClassName: system-node-critical
{{- else -}}
{{- with $v.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $v.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  {{- if $v.topologySpreadConstraints }}
  {{- toYaml $v.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "aia.selectorLabels" . | nindent 8 }}
  {{- end }}
{{- end }}
{{- if eq $v.kind "StaticPod" }}
automountServiceAccountToken: false
{{- else if and (not $onHost) $v.apiServer.kubeconfig.secretName }}
serviceAccountName: {{ include "aia.serviceAccountName" . }}
automountServiceAccountToken: false
{{- else }}
serviceAccountName: {{ include "aia.serviceAccountName" . }}
{{- end }}
{{- with $v.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
terminationGracePeriodSeconds: {{ $v.terminationGracePeriodSeconds }}
securityContext:
  {{- toYaml $v.podSecurityContext | nindent 2 }}
{{- if eq $v.kind "DaemonSet" }}
affinity:
  {{- if $v.affinity }}
  {{- toYaml $v.affinity | nindent 2 }}
  {{- else }}
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            - key: node-role.kubernetes.io/control-plane
              operator: Exists
        - matchExpressions:
            - key: node-role.kubernetes.io/master
              operator: Exists
  {{- end }}
{{- else if not $onHost }}
{{- with $v.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- if $v.tolerations }}
tolerations:
  {{- toYaml $v.tolerations | nindent 2 }}
{{- else if $onHost }}
tolerations:
  - operator: Exists
{{- end }}
{{- if and $onHost (not $v.host.pregenerated) $v.host.chown.enabled }}
initContainers:
  - name: chown
    image: {{ $v.host.chown.image }}
    command: [chown, {{ printf "%v:%v" $v.podSecurityContext.runAsUser $v.podSecurityContext.runAsGroup | quote }}, /var/aws-iam-authenticator, /etc/kubernetes/aws-iam-authenticator]
    securityContext:
      runAsNonRoot: false
      runAsUser: 0
      runAsGroup: 0
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
        add: [CHOWN]
    resources:
      {{- toYaml $v.resources | nindent 6 }}
    volumeMounts:
      - name: state
        mountPath: /var/aws-iam-authenticator
      - name: webhook-kubeconfig
        mountPath: /etc/kubernetes/aws-iam-authenticator
{{- end }}
containers:
  - name: aws-iam-authenticator
    image: {{ include "aia.image" . }}
    imagePullPolicy: {{ $v.image.pullPolicy }}
    args:
      {{- include "aia.args" . | nindent 6 }}
    {{- with include "aia.env" . | trim }}
    env:
      {{- . | nindent 6 }}
    {{- end }}
    {{- if not $onHost }}
    ports:
      - name: https
        containerPort: {{ $v.ports.webhook }}
      - name: health
        containerPort: {{ $v.ports.health }}
    {{- end }}
    livenessProbe:
      httpGet:
        path: /livez
        port: {{ $v.ports.health }}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 6
    readinessProbe:
      httpGet:
        path: /readyz
        port: {{ $v.ports.health }}
      periodSeconds: 5
      timeoutSeconds: 5
    resources:
      {{- toYaml $v.resources | nindent 6 }}
    securityContext:
      {{- toYaml $v.securityContext | nindent 6 }}
    volumeMounts:
      {{- include "aia.volumeMounts" . | nindent 6 }}
volumes:
  {{- include "aia.volumes" . | nindent 2 }}
{{- end -}}
