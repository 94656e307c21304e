#!/usr/bin/env bash
# Prints charts/kustomize/base/install.yaml: the chart's objects with its default values, for those who use no Helm.
#   tools/chart-manifests.sh HELM > install.yaml.new
set -euo pipefail
cd "$(dirname "$0")/../charts"

echo '# Generated from the chart; do not edit'
"$1" template aws-iam-authenticator aws-iam-authenticator --namespace kube-system --no-hooks |
  sed 's#app.kubernetes.io/managed-by: Helm#app.kubernetes.io/managed-by: kustomize#; /^ *helm.sh\/resource-policy: keep$/d; /^# Source: /d' |
  sed '/^  annotations:$/{N;/\n  labels:/{s/^  annotations:\n//}}'
