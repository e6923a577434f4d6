# shellcheck shell=bash
# What every kind of cluster uses.

say() { printf '%5ss  %s\n' "$SECONDS" "$*" >&2; }
die() { printf 'cluster: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

docker_answers() { have docker && timeout 20 docker info >/dev/null 2>&1; }

# Work that takes minutes runs in process groups of its own, so that a signal ends all of it at once.
# Functions run this way keep `set -e`: call these two outside of conditions.
declare -A JOBS
start_job() { # command...; sets JOB
  set -m
  "$@" </dev/null &
  set +m
  JOB=$!
  JOBS[$JOB]=running
}
finish_job() { # pid what
  local failed=''
  wait "$1" || failed=yes
  unset "JOBS[$1]"
  [ -z "$failed" ] || die "$2 failed; its messages are above"
}

stop_jobs() {
  local pid
  for pid in "${!JOBS[@]}"; do kill -- "-$pid" 2>/dev/null || true; done
}

on_signal() {
  trap '' INT TERM HUP
  say "interrupted; the next 'up' goes on from here or starts over"
  exit 130
}

# One lock per purpose, held until this process and the work it started end.
take_lock() { # file
  local fd
  mkdir -p "$(dirname "$1")"
  exec {fd}>>"$1"
  flock -n "$fd" && return
  say "waiting for another cluster command to finish ($1)"
  flock -w 1800 "$fd" || die "still locked after 30 minutes: $1 (see who holds it with: fuser -v $1)"
}

# Closes what this shell holds open besides standard input and output: a daemon must not keep the locks.
close_locks() {
  local fd
  for fd in /proc/"$BASHPID"/fd/*; do
    fd=${fd##*/}
    if [ "$fd" -gt 2 ] && [ "$fd" -ne 255 ]; then eval "exec $fd>&-"; fi
  done
}

retry() { # seconds command...
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.3
  done
}

hash_of() { cat "$@" | sha256sum | cut -c1-12; }

# What the rest of the repository reads. Each file appears whole or not at all.
publish() { # kind kubeconfig-file kubectl [audit log]
  local tmp
  mkdir -p "$OUT"
  tmp=$(mktemp "$OUT/.tmp.XXXXXX") # mktemp makes it 0600
  cat "$2" >"$tmp"
  mv -f "$tmp" "$OUT/kubeconfig"
  ln -sfn "$3" "$OUT/kubectl"
  if [ -n "${4:-}" ]; then ln -sfn "$4" "$OUT/audit.log"; else rm -f "$OUT/audit.log"; fi
  echo "$1" >"$OUT/kind"
}

unpublish() {
  rm -f "$OUT"/{kubeconfig,kubectl,audit.log,kind,kind.yaml} "$OUT"/.tmp.??????
  if [ -d "$OUT" ]; then rmdir "$OUT" 2>/dev/null || true; fi
}
