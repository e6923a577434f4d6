# shellcheck shell=bash
# The images that pods use, made on the spot: no image registry is needed.

IMAGES="pause busybox python"
IMAGE_SOURCES=("$HERE/lib/images.sh" "$HERE/images/mkimage.py" "$HERE/images/pause.c")

image_tar() { echo "$CACHE/image-$1-$(hash_of "${IMAGE_SOURCES[@]}").tar"; }

build_images() {
  local name tar tmp
  for name in $IMAGES; do
    tar=$(image_tar "$name")
    [ -f "$tar" ] && continue
    tmp=$(mktemp -d "$CACHE/tmp.XXXXXX")
    mkdir "$tmp/rootfs"
    "image_$name" "$tmp"
    mv "$tmp/image.tar" "$tar"
    rm -rf --one-file-system "$tmp"
  done
}

image_pause() { # tmp
  gcc -static -Os -o "$1/rootfs/pause" "$HERE/images/pause.c"
  python3 "$HERE/images/mkimage.py" "$1/rootfs" arl.local/pause:1 "$1/image.tar" --entrypoint /pause
}

image_busybox() { # tmp
  local root=$1/rootfs applet bin
  # the applet list tells the static binary apart from another busybox on PATH
  bin=$(dpkg -L busybox-static | grep -m1 '/bin/busybox$')
  mkdir -p "$root"/{bin,sbin,dev,etc,home,proc,root,sys,tmp,usr/bin,usr/sbin,var/tmp,var/run}
  chmod 1777 "$root/tmp" "$root/var/tmp"
  cp "$bin" "$root/bin/busybox"
  chmod 755 "$root/bin/busybox"
  for applet in $("$root/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
  done
  ln -s /bin/env "$root/usr/bin/env"
  printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'nobody:x:65534:65534:nobody:/home:/bin/false' >"$root/etc/passwd"
  printf '%s\n' 'root:x:0:' 'users:x:100:' 'nobody:x:65534:' >"$root/etc/group"
  python3 "$HERE/images/mkimage.py" "$root" busybox:1 "$1/image.tar" --cmd sh
}

# The mirror that apt uses on this machine; debootstrap's own default where apt has no Debian one.
debian_mirror() {
  # shellcheck disable=SC2016 # apt's own syntax
  apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
    awk -F'|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" && $4 ~ /^https?:/ && !n++ { print $4 }'
}

fail_with() { tail -20 "$1" >&2; exit 1; }

# Debian 11 has Python 3.9. Its mounts and processes live in namespaces that end with it.
image_python() { # tmp
  local tmp=$1 root=$1/rootfs mirror start=$SECONDS
  say "making the image python:3.9-slim (about 2 minutes)"
  mirror=$(debian_mirror)
  python_wheels "$tmp"
  # shellcheck disable=SC2086 # no argument where there is no mirror
  unshare --mount --pid --fork --kill-child \
    debootstrap --variant=minbase --include=python3,python3-pip bullseye "$root" $mirror >"$tmp/log" 2>&1 ||
    fail_with "$tmp/log"
  mkdir "$root/wheels"
  cp "$tmp"/wheels/* "$root/wheels/"
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
    unshare --mount --pid --fork --kill-child chroot "$root" \
    pip install --no-index --find-links /wheels --no-cache-dir pandas numpy >"$tmp/log" 2>&1 ||
    fail_with "$tmp/log"
  ln -s /usr/bin/python3 "$root/usr/local/bin/python"
  rm -rf "$root"/wheels "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* \
    "$root"/usr/share/{doc,man,locale,info} "${root:?}"/dev/* "$root"/etc/resolv.conf "$root"/etc/hostname \
    "$root"/etc/apt/sources.list
  python3 "$HERE/images/mkimage.py" "$root" python:3.9-slim "$tmp/image.tar" --env LANG=C.UTF-8 --cmd python3
  say "python:3.9-slim made in $((SECONDS - start)) s"
}

# With this machine's pip, so that the image needs no network and none of its settings.
python_wheels() { # tmp
  local arch
  arch=$(uname -m)
  mkdir "$1/wheels"
  python3 -m pip download -q --dest "$1/wheels" --python-version 3.9 --implementation cp --abi cp39 \
    --platform "manylinux2014_$arch" --platform "manylinux_2_17_$arch" --only-binary=:all: pandas numpy >"$1/log" 2>&1 ||
    fail_with "$1/log"
}
