# shellcheck shell=bash
# CLUSTER=current: the cluster of the kubeconfig's current context. It is never started, stopped or filled from here.

current_up() {
  local tmp
  find_kubectl
  # the repository's own copy must not be taken for the user's kubeconfig
  [ "${KUBECONFIG:-}" != "$OUT/kubeconfig" ] || unset KUBECONFIG
  tmp=$(mktemp)
  if ! "$KUBECTL" config view --minify --flatten --raw >"$tmp"; then
    rm -f "$tmp"
    die "the kubeconfig has no current context: choose one with 'kubectl config use-context NAME'"
  fi
  if ! "$KUBECTL" --kubeconfig "$tmp" get --raw=/readyz --request-timeout=15s >/dev/null; then
    rm -f "$tmp"
    die "the cluster of the current context does not answer"
  fi
  publish current "$tmp" "$KUBECTL"
  say "using the context $("$KUBECTL" --kubeconfig "$tmp" config current-context): export KUBECONFIG=$OUT/kubeconfig"
  rm -f "$tmp"
}

current_down() {
  unpublish
  say "forgot the current context's cluster; nothing in it was touched"
}

current_load() { die "images cannot be loaded into the current context's cluster: push $1 to a registry that it reaches"; }

current_restart() { die "the $1 of the current context's cluster is not restarted from here: use CLUSTER=local or CLUSTER=kind"; }

current_status() {
  if [ "$(cat "$OUT/kind" 2>/dev/null)" != current ]; then die "not set up: CLUSTER=current $0 up"; fi
  "$OUT/kubectl" --kubeconfig "$OUT/kubeconfig" get nodes --no-headers --request-timeout=15s
}
