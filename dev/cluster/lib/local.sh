# shellcheck shell=bash
# CLUSTER=local: a one-node cluster in a network namespace of its own, without Docker.

NODE=arl
NODE_IP=10.250.0.2
HOST_IP=10.250.0.1

check_machine() {
  [ "$(uname -s)" = Linux ] || die "CLUSTER=local needs Linux; with Docker running, CLUSTER=kind works elsewhere"
  [ "$(id -u)" = 0 ] || die "CLUSTER=local needs root (namespaces, mounts, cgroups): run it with sudo -E, or start Docker and use CLUSTER=kind"
  [[ $STATE =~ ^/[A-Za-z0-9._/-]{3,58}[A-Za-z0-9._-]$ ]] ||
    die "ARL_STATE is '$STATE'; it must be an absolute path of at most 60 plain characters (unix sockets lie below it)"
  [ -d /sys/fs/cgroup ] || die "no cgroups are mounted at /sys/fs/cgroup"
  case $(findmnt -nro FSTYPE -T "$(existing_parent "$STATE")") in
    overlay) die "$STATE is on an overlay file system, which cannot hold containers' overlays: set ARL_STATE to a folder on a disk (ext4, xfs, btrfs) or a tmpfs" ;;
  esac
}

existing_parent() {
  local dir=$1
  until [ -e "$dir" ]; do dir=$(dirname "$dir"); done
  echo "$dir"
}

# What the kernel must let us do; asked for before anything is built.
check_kernel() {
  local probe=arl-dev-probe problem='' controller
  for controller in cpu cpuset memory pids; do
    grep -qsw "$controller" /sys/fs/cgroup/cgroup.controllers || [ -d "/sys/fs/cgroup/$controller" ] ||
      die "CLUSTER=local cannot work on this machine: the cgroup controller '$controller' is missing"
  done
  ip netns del $probe 2>/dev/null || true
  if ! ip netns add $probe 2>/dev/null; then
    problem="network namespaces cannot be made (CAP_SYS_ADMIN is missing)"
  elif ! ip -n $probe link add probe0 type veth peer name probe1 2>/dev/null; then
    problem="veth links cannot be made (no veth in the kernel, or CAP_NET_ADMIN is missing)"
  elif ! ip -n $probe link add probe2 type bridge 2>/dev/null; then
    problem="bridges cannot be made (no bridge in the kernel)"
  elif ! nsenter --net=/run/netns/$probe iptables -t nat -A OUTPUT -m comment --comment probe -j ACCEPT 2>/dev/null; then
    problem="iptables' nat table does not work"
  fi
  ip netns del $probe 2>/dev/null || true
  [ -z "$problem" ] || die "CLUSTER=local cannot work on this machine: $problem; use a machine or container with more rights, or CLUSTER=kind"
}

make_network() {
  local path=/proc/sys/net/ipv4/ip_forward
  if ip -o -4 addr show to 10.250.0.0/30 | grep -q .; then die "10.250.0.0/30, which the cluster uses, is in use on this machine"; fi
  ip netns add "$NETNS"
  ip link add "$LINK" type veth peer name eth0 netns "$NETNS"
  ip addr add "$HOST_IP/30" dev "$LINK"
  ip link set "$LINK" up
  ip -n "$NETNS" addr add "$NODE_IP/30" dev eth0
  ip -n "$NETNS" link set eth0 up
  ip -n "$NETNS" link set lo up
  ip -n "$NETNS" route add default via "$HOST_IP"
  in_netns sh -c "echo 1 >$path"
}

# Not `ip netns exec`: it mounts another /sys, without the cgroups.
in_netns() { nsenter --net="/run/netns/$NETNS" "$@"; }

# The pods' cgroup: on version 1 in each hierarchy, on version 2 with the controllers handed down.
make_cgroups() {
  local dir controller
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p "/sys/fs/cgroup/$CGROUP"
    for dir in /sys/fs/cgroup "/sys/fs/cgroup/$CGROUP"; do
      tr ' ' '\n' <"$dir/cgroup.controllers" | while read -r controller; do
        echo "+$controller" >"$dir/cgroup.subtree_control" || true
      done 2>/dev/null
    done
    grep -qw memory "/sys/fs/cgroup/$CGROUP/cgroup.subtree_control" ||
      die "cgroup controllers cannot be handed down: processes sit in the top cgroup (see /sys/fs/cgroup/cgroup.procs); move them into one of its children"
    return
  fi
  for dir in /sys/fs/cgroup/*/; do
    if [ -f "$dir/cgroup.procs" ] && [ ! -L "${dir%/}" ]; then
      mkdir -p "$dir$CGROUP" || die "CLUSTER=local cannot work here: no cgroup can be made in $dir"
    fi
  done
  for controller in cpus mems; do
    dir=/sys/fs/cgroup/cpuset
    [ ! -d $dir ] || cat "$dir/cpuset.$controller" >"$dir/$CGROUP/cpuset.$controller"
  done
}

# The process writes its own pid file before it becomes the component, so none is ever without one.
run_component() { # name program arguments...
  local name=$1 program pid
  program=$(readlink -f "$(command -v "$2")")
  shift 2
  (
    pid=$BASHPID
    echo "$pid $(start_time "$pid") $program" >"$STATE/run/$name.pid"
    close_locks
    cd /
    exec setsid nsenter --net="/run/netns/$NETNS" "$program" "$@"
  ) >>"$STATE/log/$name.log" 2>&1 </dev/null &
}

run_etcd() {
  run_component etcd "$BIN/etcd" --data-dir "$STATE/etcd" --unsafe-no-fsync \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --quota-backend-bytes 4294967296 \
    --auto-compaction-mode periodic --auto-compaction-retention 10m
}

run_apiserver() {
  local pki=$STATE/pki
  run_component kube-apiserver "$BIN/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
    --advertise-address=$NODE_IP --bind-address=0.0.0.0 --secure-port=6443 \
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt" \
    --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
    --service-account-issuer=https://kubernetes.default.svc \
    --kubelet-client-certificate="$pki/apiserver-kubelet.crt" --kubelet-client-key="$pki/apiserver-kubelet.key" \
    --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
    --service-cluster-ip-range=10.96.0.0/16 --authorization-mode=Node,RBAC --allow-privileged=true \
    --audit-policy-file="$STATE/audit-policy.yaml" --audit-log-path="$STATE/log/audit.log" --audit-log-mode=blocking \
    --audit-log-maxsize=500 --audit-log-maxbackup=2
}

run_controllers() {
  local pki=$STATE/pki
  run_component kube-controller-manager "$BIN/kube-controller-manager" \
    --kubeconfig="$STATE/kube-controller-manager.kubeconfig" --leader-elect=false --use-service-account-credentials=true \
    --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" \
    --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key"
  run_component kube-scheduler "$BIN/kube-scheduler" --kubeconfig="$STATE/kube-scheduler.kubeconfig" --leader-elect=false
}

run_node() {
  run_component kubelet "$BIN/kubelet" --kubeconfig="$STATE/kubelet.kubeconfig" --config="$STATE/kubelet.yaml" \
    --root-dir="$STATE/kubelet" --node-ip=$NODE_IP --hostname-override=$NODE
  run_component kube-proxy "$BIN/kube-proxy" --config="$STATE/kube-proxy.yaml" --hostname-override=$NODE
}

kctl() { no_proxy="$NODE_IP,${no_proxy:-}" NO_PROXY="$NODE_IP,${NO_PROXY:-}" timeout 20 "$STATE/kubectl" --kubeconfig "$STATE/admin.kubeconfig" "$@"; }
ctr_() { ctr -a "$CONTAINERD_SOCKET" -n k8s.io "$@"; }

api_ready() { kctl get --raw=/readyz --request-timeout=5s; }
kubelet_healthy() { [ "$(kctl get --raw="/api/v1/nodes/$NODE/proxy/healthz" --request-timeout=5s 2>/dev/null)" = ok ]; }
node_ready() {
  [ "$(kctl get node $NODE --request-timeout=5s -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null)" = True ]
}
containerd_answers() { timeout 10 ctr -a "$CONTAINERD_SOCKET" version; }
default_account() { kctl get serviceaccount default --request-timeout=5s; }

wait_for() { # seconds what component command...
  local seconds=$1 what=$2 component=$3 end=$((SECONDS + $1))
  shift 3
  until "$@" >/dev/null 2>&1; do
    if ! live_pid "$component" >/dev/null || [ "$SECONDS" -ge "$end" ]; then
      tail -5 "$STATE/log/$component.log" >&2
      die "$what: not within $seconds s, or $component ended; its log is $STATE/log/$component.log"
    fi
    sleep 0.2
  done
}

# What the running cluster was made from: another of these needs another cluster.
cluster_key() { echo "$(basename "$(binaries_dir)")-$(hash_of "$HERE/lib/config.sh" "$HERE/lib/local.sh" "$HERE/audit-policy.yaml")"; }

# The first thing that is wrong with the running cluster; nothing when all is well.
local_problem() {
  local name
  [ -s "$STATE/key" ] || { echo "none is running"; return; }
  [ "$(cat "$STATE/key")" = "$(cluster_key)" ] || { echo "it was made from other files or versions"; return; }
  for name in $COMPONENTS; do
    live_pid "$name" >/dev/null || { echo "$name is not running"; return; }
  done
  containerd_answers >/dev/null 2>&1 || { echo "containerd does not answer"; return; }
  retry 10 api_ready || { echo "the API server is not ready"; return; }
  kubelet_healthy || { echo "the kubelet does not answer"; return; }
  retry 10 node_ready || { echo "the node is not Ready"; return; }
}

import_image() { ctr_ images import "$1" >>"$STATE/log/images.log" 2>&1; }

import_images() {
  local name tar
  for name in $IMAGES; do
    tar=$(image_tar "$name")
    grep -qxF "${tar##*/}" "$STATE/images" 2>/dev/null && continue
    import_image "$tar" || { tail -3 "$STATE/log/images.log" >&2; die "importing $tar failed"; }
    echo "${tar##*/}" >>"$STATE/images"
  done
  ctr_ images ls -q | sort >"$STATE/image-names"
}

images_imported() {
  local name
  for name in $IMAGES; do
    grep -qxF "$(basename "$(image_tar "$name")")" "$STATE/images" 2>/dev/null || return 1
  done
}

# A kubelet whose disk was full has deleted what no pod used.
forget_images_that_are_gone() {
  [ -f "$STATE/image-names" ] || return 0
  [ -z "$(comm -23 "$STATE/image-names" <(ctr_ images ls -q | sort))" ] || rm -f "$STATE/images" "$STATE/image-names"
}

start_cluster() {
  local images
  mkdir -p "$STATE"/{pki,log,run,cni,etcd}
  chmod 700 "$STATE"
  cp "$BIN/kubectl" "$STATE/kubectl" # outlives the cache
  save_sysctls
  write_config
  make_network
  make_cgroups
  run_etcd
  run_component containerd containerd -c "$STATE/containerd.toml"
  run_apiserver
  wait_for 30 "containerd" containerd containerd_answers
  start_job import_images
  images=$JOB
  wait_for 90 "the API server" kube-apiserver api_ready
  run_controllers
  run_node
  wait_for 60 "the node Ready" kubelet node_ready
  wait_for 60 "the kubelet's answer" kubelet kubelet_healthy
  wait_for 60 "the ServiceAccount default" kube-controller-manager default_account
  finish_job "$images" "importing the images"
  cluster_key >"$STATE/key"
}

# On a full disk the kubelet ends pods and deletes images, and nothing starts any more.
has_room() {
  local free
  free=$(df -BM --output=avail "$CACHE" | tail -1 | tr -dc 0-9)
  [ "$free" -ge 3072 ] || die "only $free MB are free on the disk of $CACHE; the cluster needs 3 GB: make room and try again"
}

local_up() {
  local problem images
  check_machine
  mkdir -p "$CACHE"
  take_lock "$STATE.lock"
  install_packages
  BIN=$(binaries_dir)
  has_room
  problem=$(local_problem)
  [ -n "$problem" ] || forget_images_that_are_gone
  if [ -n "$problem" ] || ! images_imported; then
    [ -z "$problem" ] || check_kernel
    take_lock "$CACHE/lock"
    clean_cache_tmp
    start_job build_images
    images=$JOB
    build_binaries
    finish_job "$images" "making the images"
  fi
  if [ -n "$problem" ]; then
    [ ! -d "$STATE" ] || say "replacing the cluster: $problem"
    clean_up
    say "starting Kubernetes $(kube_version)"
    start_cluster
  else
    import_images
  fi
  publish local "$STATE/admin.kubeconfig" "$STATE/kubectl" "$STATE/log/audit.log"
  say "ready: export KUBECONFIG=$OUT/kubeconfig"
}

local_down() {
  check_machine
  take_lock "$STATE.lock"
  clean_up
  unpublish
  say "stopped; nothing is left on the machine but the cache $CACHE"
}

local_load() { # image tar
  [ -f "$1" ] || die "no such file: $1"
  check_machine
  [ -S "$CONTAINERD_SOCKET" ] || die "the cluster is not running: make it with '$0 up'"
  ctr_ images import "$1"
}

# The same program with the same arguments, whichever clone started it.
local_restart() { # component
  local name=$1 pid arguments
  check_machine
  take_lock "$STATE.lock"
  [ "$name" != apiserver ] || name=kube-apiserver
  pid=$(live_pid "$name") || die "$name is not running: '$0 up' repairs the cluster"
  mapfile -d '' -t arguments <"/proc/$pid/cmdline"
  say "restarting $name"
  stop_component "$name"
  if live_pid "$name" >/dev/null; then die "$name (pid $pid) cannot be ended"; fi
  run_component "$name" "${arguments[@]}"
  retry 5 live_pid "$name" || die "$name does not start; its log is $STATE/log/$name.log"
  wait_for 30 "containerd" containerd containerd_answers
  wait_for 90 "the API server" kube-apiserver api_ready
  wait_for 60 "the kubelet's answer" kubelet kubelet_healthy
  wait_for 60 "the node Ready" kubelet node_ready
  say "ready"
}

local_status() {
  local name pid problem
  check_machine
  for name in $COMPONENTS; do
    if pid=$(live_pid "$name"); then pid="running, pid $pid"; else pid=stopped; fi
    printf '%-24s %s\n' "$name" "$pid"
  done
  problem=$(local_problem)
  printf '%-24s %s\n' node "${problem:-Ready}"
  [ -z "$problem" ]
}
