#!/usr/bin/env bash
# Builds the OCI image without a daemon:
#   tools/image.sh            for this machine's processor
#   TARGETARCH=arm64 …        for another one, with its Rust target and C cross compiler installed
#   BINARY=<program> …        of a program that was built before (static, for that processor)
# Leaves target/image/<arch>/: oci/ (an OCI layout), digest, sbom.cdx.json. The same commit, toolchain and CA bundle give
# the same digest, wherever the source lies: SOURCE_DATE_EPOCH is the only clock, and paths are mapped away.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "tools/image.sh: $1" >&2; exit "${2:-1}"; }
need() { command -v "$1" >/dev/null || fail "$1 is missing. $2" 3; }
need buildah "Debian and Ubuntu: apt-get install buildah"
need python3 "Debian and Ubuntu: apt-get install python3"

case "${TARGETARCH:-$(uname -m)}" in
amd64 | x86_64) arch=amd64 rust=x86_64-unknown-linux-gnu ;;
arm64 | aarch64) arch=arm64 rust=aarch64-unknown-linux-gnu ;;
*) fail "no image for ${TARGETARCH:-$(uname -m)}: it is built for amd64 and arm64" 2 ;;
esac

bundle=${CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt}
[[ -s $bundle ]] || fail "no CA bundle at $bundle. Debian and Ubuntu: apt-get install ca-certificates; elsewhere name it in CA_BUNDLE" 3

version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
revision=${REVISION:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
source_url=https://github.com/kubernetes-sigs/aws-iam-authenticator
out=$PWD/${CARGO_TARGET_DIR:-target}/image
[[ ${CARGO_TARGET_DIR:-} != /* ]] || out=$CARGO_TARGET_DIR/image

# A folder of its own: these flags would throw away every other build in target/.
build() {
  local home=${CARGO_HOME:-$HOME/.cargo} map prefix
  local rustflags="-C target-feature=+crt-static" cflags=""
  for map in "$PWD=/src" "$home=/cargo" "$out/build=/build"; do
    rustflags+=" --remap-path-prefix=$map"
    cflags+=" -ffile-prefix-map=$map"
  done
  prefix=CFLAGS_${rust//-/_}
  # A static program relocates itself at every start: packed, what it needs for that is 30 KB instead of 800.
  env CARGO_TARGET_DIR="$out/build" RUSTFLAGS="$rustflags" "$prefix=$cflags" \
    AWS_IAM_AUTHENTICATOR_COMMIT="$revision" AWS_IAM_AUTHENTICATOR_DATE="$created" \
    "${CARGO:-cargo}" rustc --locked --quiet --profile image --target "$rust" --bin aws-iam-authenticator -- \
    -C link-arg=-Wl,-z,pack-relative-relocs >&2
  echo "$out/build/$rust/image/aws-iam-authenticator"
}

binary=${BINARY:-}
if [[ -z $binary ]]; then binary=$(build); fi
rm -rf "${out:?}/$arch"
root=$out/$arch/context/linux/$arch
mkdir -p "$root/etc/ssl/certs"
install -m 0755 "$binary" "$root/aws-iam-authenticator"
install -m 0644 "$bundle" "$root/etc/ssl/certs/ca-certificates.crt"
# Static glibc looks here; without it, it would be left to a default that has changed before.
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
chmod -R u=rwX,go=rX "$root"

# Storage of its own, in plain folders: no daemon, no overlay mounts, nothing left in the user's own store.
store=$out/$arch/store
mkdir -p "$store"
trap 'rm -rf "$store"' EXIT
buildah() { command buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs "$@"; }
label() { labels+=(--label "org.opencontainers.image.$1=$2" --annotation "org.opencontainers.image.$1=$2"); }
labels=()
label title aws-iam-authenticator
label description "AWS IAM authentication for Kubernetes, as a live operator"
label licenses Apache-2.0
label source "$source_url"
label url "$source_url"
label documentation "$source_url"
label vendor "iam-authenticator"
label version "$version"
label revision "$revision"
label created "$created"
# --pull=never: there is nothing below it, so nothing may ever be fetched.
buildah bud --quiet --isolation chroot --pull-never --format oci --timestamp "$epoch" --identity-label=false \
  --os linux --arch "$arch" --build-arg TARGETARCH="$arch" "${labels[@]}" \
  --file Containerfile --tag "aws-iam-authenticator:$version" "$out/$arch/context" >/dev/null
buildah push --quiet --format oci --digestfile "$out/$arch/digest" "aws-iam-authenticator:$version" "oci:$out/$arch/oci:$version"

tools/sbom.py --target "$rust" --version "$version" --timestamp "$created" --digest "$(cat "$out/$arch/digest")" \
  --file "$root/etc/ssl/certs/ca-certificates.crt" --file "$root/aws-iam-authenticator" >"$out/$arch/sbom.cdx.json"

size=$(find "$root" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
printf '== image aws-iam-authenticator:%s linux/%s\n   %s\n   %d bytes uncompressed, of at most 20000000\n   %s\n' \
  "$version" "$arch" "$(cat "$out/$arch/digest")" "$size" "$out/$arch"
((size <= 20000000)) || fail "the image is too large"
