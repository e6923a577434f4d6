# shellcheck shell=bash
# Ends and removes what the local cluster left on the machine: only what can be told to be its own,
# by a pid file that it wrote, its containerd's socket, its cgroup, its folder or its network namespace.

NETNS=arl-dev
LINK=arl0
CGROUP=arl-dev-cluster
CONTAINERD_SOCKET=$STATE/run/containerd.sock
# shellcheck disable=SC2034 # used by local.sh
COMPONENTS="etcd containerd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy"
# what the kubelet sets for the whole machine
SYSCTLS="vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes"

# Clock ticks between the machine's start and the process's: a pid used again has another.
start_time() { # pid
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # the name, in brackets, may hold spaces
  # shellcheck disable=SC2086 # split on purpose
  set -- ${stat##*) }
  echo "${20}"
}

# Prints the component's pid if the process that its pid file names is still that process.
live_pid() { # component
  local pid start exe now
  [ -s "$STATE/run/$1.pid" ] || return 1
  read -r pid start exe <"$STATE/run/$1.pid" || return 1
  [ "$(start_time "$pid")" = "$start" ] || return 1
  now=$(readlink "/proc/$pid/exe") || return 1 # also for a zombie
  case ${now% (deleted)} in
    "$exe" | */bash | */setsid | */nsenter) echo "$pid" ;; # what it was in its first moment
    *) return 1 ;;
  esac
}

stop_component() { # name
  local pid
  pid=$(live_pid "$1") || return 0
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 30); do
    live_pid "$1" >/dev/null || return 0
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
  for _ in $(seq 30); do
    live_pid "$1" >/dev/null || return 0
    sleep 0.1
  done
  say "$1 (pid $pid) does not end"
}

cgroup_dirs() {
  local controller
  for controller in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ -d "$controller/$CGROUP" ] && echo "$controller/$CGROUP"
  done
  return 0
}

# Processes of pods: they are in the cluster's cgroup.
pod_pids() {
  local dir
  for dir in $(cgroup_dirs); do find "$dir" -name cgroup.procs -exec cat {} +; done 2>/dev/null | sort -un | grep -v '^0$' || true
}

# Shims outlive their containerd. Each names its socket on its command line.
shim_pids() {
  local file pid
  for file in /proc/[0-9]*/exe; do
    case $(readlink "$file") in */containerd-shim*) ;; *) continue ;; esac
    pid=${file#/proc/}
    pid=${pid%/exe}
    if tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -e " -address $CONTAINERD_SOCKET "; then echo "$pid"; fi
  done
}

end_all() { # function that lists pids
  local pids
  for _ in $(seq 50); do
    pids=$("$1")
    [ -n "$pids" ] || return 0
    # shellcheck disable=SC2086 # a list
    kill -9 $pids 2>/dev/null || true
    sleep 0.1
  done
  say "processes that do not end: $(echo "$pids" | xargs)"
}

remove_cgroups() {
  local dir
  for _ in $(seq 20); do
    for dir in $(cgroup_dirs); do find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null || true; done
    [ -n "$(cgroup_dirs)" ] || return 0
    sleep 0.1
  done
  say "cgroups that cannot be removed: $(cgroup_dirs | xargs)"
}

unmount_state() {
  for _ in 1 2 3; do
    awk -v s="$STATE/" 'index($2, s) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r -d '\n' umount -l 2>/dev/null || true
  done
}

remove_network() {
  ip link del "$LINK" 2>/dev/null || true
  ip netns del "$NETNS" 2>/dev/null || true
}

save_sysctls() {
  local name
  for name in $SYSCTLS; do sysctl -e "$name"; done >"$STATE/sysctl.saved" 2>/dev/null || true
}

restore_sysctls() { [ ! -s "$STATE/sysctl.saved" ] || sysctl -q -e -p "$STATE/sysctl.saved" >/dev/null 2>&1 || true; }

# The shims' sockets lie outside of $STATE; containerd forgets them as soon as it sees a shim end.
shim_sockets() {
  local file
  for file in "$STATE"/containerd/state/io.containerd.runtime.v2.task/*/*/address; do
    [ -f "$file" ] || continue
    sed -n 's,^unix://\(/run/containerd/s/\),\1,p' "$file"
    echo
  done
}

# Other files outside of $STATE that containerd, CNI and kubelet give no choice about.
remove_outside_files() {
  local file id
  for file in /var/lib/cni/results/arl-dev-*-eth0; do
    id=${file##*/arl-dev-}
    rm -f "$file" "/var/lib/cni/results/cni-loopback-${id%-eth0}-lo"
  done
  for file in /var/log/containers/*; do
    case $(readlink "$file") in "$STATE"/*) rm -f "$file" ;; esac
  done
  # where another kubelet lives there is more than this
  if [ "$(ls -A /var/lib/kubelet 2>/dev/null)" = device-plugins ]; then rm -f /var/lib/kubelet/device-plugins/kubelet.sock; fi
  rmdir /run/containerd/s /run/containerd /var/lib/kubelet/device-plugins /var/lib/kubelet /var/lib/cni/results /var/lib/cni /var/log/containers 2>/dev/null || true
}

# Safe to call in whatever state the machine is; the order matters.
clean_up() {
  local name sockets
  sockets=$(shim_sockets)
  for name in kubelet kube-proxy kube-scheduler kube-controller-manager kube-apiserver; do stop_component "$name"; done
  end_all pod_pids
  end_all shim_pids
  stop_component containerd
  end_all shim_pids # one that containerd was starting just then
  end_all pod_pids
  stop_component etcd
  unmount_state
  echo "$sockets" | xargs -r rm -f
  remove_outside_files
  remove_network
  remove_cgroups
  restore_sysctls
  rm -rf --one-file-system "$STATE"
}
