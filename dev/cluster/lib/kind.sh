# shellcheck shell=bash
# CLUSTER=kind: a cluster in Docker, named arl-dev.

KIND_NAME=arl-dev
KIND_VERSION=v0.33.0

find_kind() {
  if have kind; then
    KIND=$(command -v kind)
    return
  fi
  KIND=$CACHE/kind-$KIND_VERSION/kind
  [ -x "$KIND" ] || build_kind
}

build_kind() {
  local tmp
  have go || die "kind is not installed: install it, or Go $GO_MINIMUM or newer to have it built"
  say "building kind $KIND_VERSION"
  take_lock "$CACHE/lock"
  clean_cache_tmp
  tmp=$(mktemp -d "$CACHE/tmp.XXXXXX")
  GOWORK=off GOFLAGS='' GOBIN=$tmp go install "sigs.k8s.io/kind@$KIND_VERSION"
  chmod 755 "$tmp"
  [ -d "${KIND%/kind}" ] || mv -T "$tmp" "${KIND%/kind}"
}

require_docker() { docker_answers || die "CLUSTER=kind needs a running Docker: 'docker info' does not answer"; }

kind_exists() { "$KIND" get clusters 2>/dev/null | grep -qx "$KIND_NAME"; }

kind_node() { echo "$KIND_NAME-control-plane"; }

# Where the node's audit log lies on this machine: in the clone that created the cluster.
kind_audit_log() {
  local dir
  dir=$(docker inspect "$(kind_node)" \
    --format '{{range .Mounts}}{{if eq .Destination "/var/log/kubernetes-audit"}}{{.Source}}{{end}}{{end}}')
  dir=${dir#/host_mnt} # what Docker's desktop program puts in front
  [ -z "$dir" ] || echo "$dir/audit.log"
}

kind_problem() {
  local kubeconfig
  kind_exists || { echo "none is running"; return; }
  kubeconfig=$(mktemp)
  "$KIND" get kubeconfig --name "$KIND_NAME" >"$kubeconfig" 2>/dev/null || true
  if ! retry 10 "$KUBECTL" --kubeconfig "$kubeconfig" get --raw=/readyz --request-timeout=5s; then
    echo "the API server is not ready"
  elif ! "$KUBECTL" --kubeconfig "$kubeconfig" wait node --all --for=condition=Ready --timeout=10s >/dev/null 2>&1; then
    echo "the node is not Ready"
  fi
  rm -f "$kubeconfig"
}

# kubeconfig: never the user's own
kind_create() {
  mkdir -p "$OUT/audit"
  sed -e "s,@HERE@,$HERE,g" -e "s,@OUT@,$OUT,g" "$HERE/kind.yaml" >"$OUT/kind.yaml"
  "$KIND" create cluster --name "$KIND_NAME" ${KIND_NODE_IMAGE:+--image "$KIND_NODE_IMAGE"} \
    --config "$OUT/kind.yaml" --kubeconfig "$OUT/kubeconfig" --wait 180s
  # for users other than root
  docker exec "$(kind_node)" chmod a+r /var/log/kubernetes-audit/audit.log
}

kind_has() { docker exec "$(kind_node)" ctr -n k8s.io images ls -q | grep -qxF "docker.io/library/$1"; }

kind_images() {
  if ! kind_has busybox:1; then
    docker image inspect busybox:1 >/dev/null 2>&1 || docker pull -q busybox:1
    "$KIND" load docker-image --name "$KIND_NAME" busybox:1
  fi
  # pandas and numpy are in it beforehand, so that pods need no network for them
  if ! kind_has python:3.9-slim; then
    printf '%s\n' 'FROM python:3.9-slim' 'RUN pip install --no-cache-dir pandas numpy' |
      docker build -q -t arl-dev/python:3.9-slim -
    "$KIND" load docker-image --name "$KIND_NAME" arl-dev/python:3.9-slim
    # named in the node alone: Docker's own python:3.9-slim stays as it is
    docker exec "$(kind_node)" ctr -n k8s.io images tag docker.io/arl-dev/python:3.9-slim docker.io/library/python:3.9-slim
  fi
}

kind_up() {
  local problem kubeconfig
  require_docker
  find_kind
  find_kubectl
  problem=$(kind_problem)
  if [ -n "$problem" ]; then
    if kind_exists; then
      say "replacing the cluster $KIND_NAME: $problem"
      "$KIND" delete cluster --name "$KIND_NAME" --kubeconfig "$OUT/kubeconfig"
    fi
    say "creating the kind cluster $KIND_NAME"
    kind_create
  fi
  kind_images
  kubeconfig=$(mktemp)
  "$KIND" get kubeconfig --name "$KIND_NAME" >"$kubeconfig"
  retry 60 "$KUBECTL" --kubeconfig "$kubeconfig" get serviceaccount default || die "no ServiceAccount default after 60 s"
  publish kind "$kubeconfig" "$KUBECTL" "$(kind_audit_log)"
  rm -f "$kubeconfig"
  say "ready: export KUBECONFIG=$OUT/kubeconfig"
}

kind_down() {
  require_docker
  find_kind
  if kind_exists; then "$KIND" delete cluster --name "$KIND_NAME" --kubeconfig "$OUT/kubeconfig"; fi
  # the node wrote the audit log as root
  rm -rf "$OUT/audit" 2>/dev/null ||
    docker run --rm -v "$OUT:/out" busybox:1 rm -rf /out/audit
  unpublish
}

kind_load() { # image tar
  [ -f "$1" ] || die "no such file: $1"
  require_docker
  find_kind
  "$KIND" load image-archive --name "$KIND_NAME" "$1"
}

kind_restart() { # component
  local node
  require_docker
  find_kind
  find_kubectl
  kind_exists || die "the cluster is not running: make it with '$0 up'"
  node=$(kind_node)
  say "restarting $1"
  case $1 in
    # a static pod: the kubelet starts it again
    apiserver) docker exec "$node" sh -c 'crictl stop $(crictl ps -q --name "^kube-apiserver$")' >/dev/null ;;
    *) docker exec "$node" systemctl restart "$1" ;;
  esac
  retry 120 kind_is_well || die "after the restart of $1: $(kind_problem)"
  say "ready"
}

kind_is_well() { [ -z "$(kind_problem)" ]; }

kind_status() {
  local problem
  require_docker
  find_kind
  find_kubectl
  problem=$(kind_problem)
  printf '%-24s %s\n' "kind cluster $KIND_NAME" "${problem:-Ready}"
  [ -z "$problem" ]
}
