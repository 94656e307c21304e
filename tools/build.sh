#!/usr/bin/env bash
# Builds the pinned parts of a real control plane (and, when asked, the Go authenticator) from their Go modules.
#   tools/build.sh kubernetes   etcd, kube-apiserver, kubectl -> target/tools/kubernetes-<version>/
#   tools/build.sh oldest       the same of the oldest Kubernetes that is supported; prints that folder
#   tools/build.sh peer         the Go aws-iam-authenticator  -> target/tools/peer-<version>/
#   tools/build.sh helm         helm                          -> target/tools/helm-<version>/
#   tools/build.sh promtool     promtool                      -> target/tools/promtool-<version>/
#   tools/build.sh actionlint   actionlint                    -> target/tools/actionlint-<version>/; prints its path
#   tools/build.sh awscli       the AWS CLI, from PyPI        -> target/tools/awscli-<version>/
# A part that is already there is kept: the version is in the folder's name. A part built halfway never gets its final name.
set -euo pipefail
cd "$(dirname "$0")"
target="${CARGO_TARGET_DIR:-$PWD/../target}/tools"

need_go() {
  if command -v go >/dev/null; then return; fi
  echo "tools/build.sh: no Go toolchain on PATH. Install Go 1.26 or newer, or name a folder with etcd, kube-apiserver and kubectl in KUBEBUILDER_ASSETS." >&2
  exit 3
}

pinned() { (cd "$1" && go list -m -f '{{.Version}}' "$2"); }

# build <module folder> <output folder> <name> <package> <linker flags> [build tags]
build() {
  local out="$2/$3" started=$SECONDS
  if [[ -x $out ]]; then return; fi
  mkdir -p "$2"
  printf '  %-22s building from %s ...\n' "$3" "$4"
  (cd "$1" && CGO_ENABLED=0 go build -trimpath -tags="${6:-}" -ldflags="-s -w $5" -o "$out.part" "$4")
  mv "$out.part" "$out"
  printf '  %-22s built in %d s\n' "$3" $((SECONDS - started))
}

# control_plane <module folder>
control_plane() {
  local version minor stamp out
  version=$(pinned "$1" k8s.io/kubernetes)
  minor=${version#v1.}; minor=${minor%%.*}
  stamp="-X k8s.io/component-base/version.gitVersion=$version -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$minor"
  out="$target/kubernetes-$version"
  build "$1" "$out" kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver "$stamp"
  build "$1" "$out" kubectl k8s.io/kubernetes/cmd/kubectl "$stamp"
  build "$1" "$out" etcd go.etcd.io/etcd/server/v3 ""
}

case "${1:-}" in
kubernetes)
  if [[ -n ${KUBEBUILDER_ASSETS:-} ]]; then echo "  using the parts in KUBEBUILDER_ASSETS"; exit 0; fi
  need_go
  control_plane kubernetes
  ;;
oldest)
  need_go
  # Prints the folder last, for KUBEBUILDER_ASSETS.
  control_plane kubernetes-oldest >&2
  echo "$target/kubernetes-$(pinned kubernetes-oldest k8s.io/kubernetes)"
  ;;
peer)
  need_go
  version=$(pinned peer sigs.k8s.io/aws-iam-authenticator)
  build peer "$target/peer-$version" aws-iam-authenticator sigs.k8s.io/aws-iam-authenticator/cmd/aws-iam-authenticator \
    "-X sigs.k8s.io/aws-iam-authenticator/pkg.Version=${version#v}"
  ;;
helm)
  need_go
  version=$(pinned helm helm.sh/helm/v4)
  build helm "$target/helm-$version" helm helm.sh/helm/v4/cmd/helm "-X helm.sh/helm/v4/internal/version.version=$version"
  ;;
promtool)
  need_go
  # Without the code that discovers what to scrape in twenty clouds: rules and expressions need none of it.
  version=$(pinned promtool github.com/prometheus/prometheus)
  build promtool "$target/promtool-$version" promtool github.com/prometheus/prometheus/cmd/promtool \
    "-X github.com/prometheus/common/version.Version=$version" remove_all_sd
  ;;
actionlint)
  need_go
  version=$(pinned actionlint github.com/rhysd/actionlint)
  build actionlint "$target/actionlint-$version" actionlint github.com/rhysd/actionlint/cmd/actionlint \
    "-X github.com/rhysd/actionlint.version=${version#v}" >&2
  echo "$target/actionlint-$version/actionlint"
  ;;
awscli)
  version=$(sed -n 's/^awscli==//p' awscli/requirements.txt)
  out="$target/awscli-$version"
  if [[ -x $out/bin/aws ]]; then exit 0; fi
  if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    echo "tools/build.sh: no Python 3 with venv on PATH. Install python3 and python3-venv." >&2
    exit 3
  fi
  started=$SECONDS
  printf '  %-22s installing from PyPI ...\n' aws
  # The paths of a virtual environment are fixed when it is made; one made halfway has no aws yet.
  rm -rf "$out" && python3 -m venv "$out"
  "$out/bin/pip" install --quiet --disable-pip-version-check --requirement awscli/requirements.txt
  printf '  %-22s installed in %d s\n' aws $((SECONDS - started))
  ;;
*)
  sed -n '2,10s/^# //p' "$0"; exit 2 ;;
esac
