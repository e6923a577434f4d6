# shellcheck shell=bash
# Components that are stopped for a while and started again. No part of what a cluster is made of: a change here needs no other cluster.

local_stop() { # component
  local pid
  check_machine
  take_lock "$STATE.lock"
  pid=$(live_pid "$1") || die "$1 is not running: '$0 start $1' starts one that was stopped, '$0 up' repairs the cluster"
  cat "/proc/$pid/cmdline" >"$STATE/run/$1.cmdline"
  say "stopping $1"
  stop_component "$1"
  if live_pid "$1" >/dev/null; then die "$1 (pid $pid) cannot be ended"; fi
}

# The same program with the same arguments, whichever clone stopped it. One that runs is only waited for.
local_start() { # component
  local arguments
  check_machine
  take_lock "$STATE.lock"
  if ! live_pid "$1" >/dev/null; then
    [ -s "$STATE/run/$1.cmdline" ] || die "$1 was not stopped with '$0 stop $1': '$0 up' repairs the cluster"
    mapfile -d '' -t arguments <"$STATE/run/$1.cmdline"
    say "starting $1"
    run_component "$1" "${arguments[@]}"
    retry 5 live_pid "$1" || die "$1 does not start; its log is $STATE/log/$1.log"
  fi
  wait_for 30 "containerd" containerd containerd_answers
  wait_for 60 "the kubelet's answer" kubelet kubelet_healthy
  wait_for 60 "the node Ready" kubelet node_ready
  say "ready"
}

kind_stop() { # component
  require_docker
  find_kind
  kind_exists || die "the cluster is not running: make it with '$0 up'"
  say "stopping $1"
  docker exec "$(kind_node)" systemctl stop "$1"
}

kind_start() { # component
  require_docker
  find_kind
  find_kubectl
  kind_exists || die "the cluster is not running: make it with '$0 up'"
  say "starting $1"
  docker exec "$(kind_node)" systemctl start "$1"
  retry 120 kind_is_well || die "after the start of $1: $(kind_problem)"
  say "ready"
}

current_stop() { die "the $1 of the current context's cluster is not stopped from here: use CLUSTER=local or CLUSTER=kind"; }

current_start() { die "the $1 of the current context's cluster is not started from here: use CLUSTER=local or CLUSTER=kind"; }
