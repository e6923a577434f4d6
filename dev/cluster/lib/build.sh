# shellcheck shell=bash
# Kubernetes binaries, built from source.

# The Kubernetes version is the one that the tools' go.mod names. A second minor version is
# a second folder: tools-1.33/go.mod is used with KUBE=1.33.
TOOLS=$HERE/tools${KUBE:+-$KUBE}
kube_version() {
  [ -f "$TOOLS/go.mod" ] || die "no $TOOLS/go.mod, so Kubernetes ${KUBE:-} cannot be built"
  awk '$1 == "k8s.io/kubernetes" { print $2 }' "$TOOLS/go.mod"
}

GO_MINIMUM=1.26
require_go() {
  local v
  have go || die "Go is not installed: Kubernetes is built from source with Go $GO_MINIMUM or newer; install it and put it on PATH"
  v=$(cd "$TOOLS" && GOWORK=off go env GOVERSION | sed 's/^go//')
  [ "$(printf '%s\n' "$GO_MINIMUM" "$v" | sort -V | head -1)" = "$GO_MINIMUM" ] ||
    die "Go $v is too old: install Go $GO_MINIMUM or newer"
}

binaries_dir() { echo "$CACHE/kubernetes-$(kube_version)-$(hash_of "$TOOLS/go.mod" "$TOOLS/go.sum" "$HERE/lib/build.sh")"; }

# Left-overs of builds that were killed; nobody builds while we hold the cache's lock.
clean_cache_tmp() { rm -rf --one-file-system "$CACHE"/tmp.*; }

go_build_tools() { # out-dir package...
  local out=$1 version minor set=k8s.io/component-base/version
  shift
  version=$(kube_version)
  minor=${version#v1.}
  minor=${minor%%.*}
  cd "$TOOLS" || exit
  # go says nothing but "downloading" unless something is wrong
  GOWORK=off GOFLAGS='' CGO_ENABLED=0 go build -mod=readonly -trimpath -buildvcs=false \
    -ldflags "-s -w -X $set.gitVersion=$version -X $set.gitMajor=1 -X $set.gitMinor=$minor -X $set.gitTreeState=clean" \
    -o "$out/" "$@" 2> >(grep -v "^go: downloading " >&2)
}

build_binaries() {
  local dir tmp start=$SECONDS
  dir=$(binaries_dir)
  [ -d "$dir" ] && return
  require_go
  say "building Kubernetes $(kube_version) and etcd from source (about 5 minutes on 2 cores the first time)"
  tmp=$(mktemp -d "$CACHE/tmp.XXXXXX")
  start_job go_build_tools "$tmp" tool
  finish_job "$JOB" "building Kubernetes"
  mv "$tmp/server" "$tmp/etcd" # what etcd's module calls its binary
  chmod 755 "$tmp"
  mv -T "$tmp" "$dir"
  say "Kubernetes built in $((SECONDS - start)) s"
}

# Only kubectl, where the cluster itself is not built here.
build_kubectl() {
  local dir tmp
  dir=$(binaries_dir)-kubectl
  if [ ! -x "$dir/kubectl" ]; then
    require_go
    say "building kubectl"
    take_lock "$CACHE/lock"
    tmp=$(mktemp -d "$CACHE/tmp.XXXXXX")
    start_job go_build_tools "$tmp" k8s.io/kubernetes/cmd/kubectl
    finish_job "$JOB" "building kubectl"
    chmod 755 "$tmp"
    [ -d "$dir" ] || mv -T "$tmp" "$dir"
  fi
  KUBECTL=$dir/kubectl
}

# A kubectl for the kinds that bring none.
find_kubectl() {
  if [ -x "$(binaries_dir)/kubectl" ]; then
    KUBECTL=$(binaries_dir)/kubectl
  elif have kubectl; then
    # shellcheck disable=SC2034 # used by the kinds
    KUBECTL=$(command -v kubectl)
  else
    build_kubectl
  fi
}
