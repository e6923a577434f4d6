# shellcheck shell=bash
# The Debian packages that the local cluster needs.

# file that proves it : Debian package
PACKAGES="
containerd:containerd runc:runc iptables:iptables conntrack:conntrack socat:socat openssl:openssl
ip:iproute2 gcc:gcc debootstrap:debootstrap python3:python3 sysctl:procps nsenter:util-linux
flock:util-linux mount:mount
/usr/lib/cni/bridge:containernetworking-plugins /usr/lib/cni/portmap:containernetworking-plugins
/usr/include/stdlib.h:libc6-dev
"

missing_packages() {
  local p what package
  for p in $PACKAGES; do
    what=${p%%:*} package=${p#*:}
    case $what in
      /*) [ -e "$what" ] || echo "$package" ;;
      *) have "$what" || echo "$package" ;;
    esac
  done
  # shellcheck disable=SC2016 # dpkg-query's own syntax
  for package in busybox-static debian-archive-keyring ca-certificates; do
    [ "$(dpkg-query -Wf '${db:Status-Status}' $package 2>/dev/null)" = installed ] || echo "$package"
  done
  python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
  # For the tests of the Python package.
  python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
}

install_packages() {
  local missing log
  missing=$(missing_packages | sort -u | xargs)
  [ -n "$missing" ] || return 0
  have apt-get || die "needed, and there is no apt-get to install them with: $missing"
  say "installing Debian packages: $missing"
  log=$(mktemp)
  # shellcheck disable=SC2086 # a list
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
    tail -20 "$log" >&2
    rm -f "$log"
    die "could not install: $missing"
  fi
  rm -f "$log"
  missing=$(missing_packages | sort -u | xargs)
  [ -z "$missing" ] || die "still missing after the installation: $missing"
}
