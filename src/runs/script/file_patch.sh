# Replaces the content of a file, by the same rule as the agent: docs/semantics.md.
# $1 the working directory or empty, $2 the path, $3 the size. The content comes on standard input, which cannot be closed by
# every server, so exactly $3 bytes are read. What fails is said in one message, with the words of the tool that failed.
umask 022
# The words of the tools are read below.
export LC_ALL=C
fail() {
  case $2 in
    *[Pp]"ermission denied"*|*"not permitted"*) why="; uid $(id -u 2>/dev/null) may not write there" ;;
    *"ead-only file system"*) why="; write to a volume that the pool's template mounts writable" ;;
    *"o space left"*|*[Qq]uota*) why="; make room there, or give the volume more" ;;
    *"ext file busy"*) why="; it is a program that is running" ;;
    *) why= ;;
  esac
  printf '%s\n' "$path $1${2:+: $2}$why" >&2; exit 1
}
# A runtime was seen to report success for a shell that it did not start.
written() { printf 'arl: written'; exit 0; }
is_full() { case $e in *"o space left"*|*[Qq]uota*) return 0 ;; esac; return 1; }
path=$2 size=$3 p=$2 copy= links=0
[ -z "$1" ] || cd -P -- "$1" 2>/dev/null || fail "cannot be written: workDir $1 cannot be entered"
case $p in
  "~"*) fail "begins with ~, which is not expanded; write the whole path, or ./ before it" ;;
  /*) ;;
  *) p=./$p ;;
esac
case $p in */|*/.|*/..) fail "is the name of a directory; name a file in it" ;; esac
[ ! -d "$p" ] || fail "is a directory; name a file in it"
[ ! -p "$p" ] || fail "is a pipe, not a file; use a Command step to write to it"
[ ! -S "$p" ] || fail "is a socket, not a file; use a Command step to write to it"
[ ! -e "$p" ] || [ -f "$p" ] || fail "is a device, not a file; use a Command step to write to it"
while :; do
  d=${p%/*} n=./${p##*/}
  case $n in ./|./.|./..) fail "is the name of a directory; name a file in it" ;; esac
  e=$(mkdir -p "${d:-/}" 2>&1) || fail "cannot be written: the directory $d cannot be made" "$e"
  cd -P -- "${d:-/}" 2>/dev/null || fail "cannot be written: the directory $d cannot be entered" "Permission denied"
  [ -L "$n" ] || break
  links=$((links+1)); [ "$links" -le 40 ] || fail "is a link that leads back to itself"
  p=$(readlink -n "$n" && echo x) || fail "is a link that cannot be read"
  p=${p%x}
  case $p in /*) ;; *) p=./$p ;; esac
done
# To the test of busybox, uid 0 may write everything. In a sticky directory an open for writing may be refused that replacing is not.
is_writable() { [ -w "$n" ] && { [ "$(id -u 2>/dev/null)" != 0 ] || [ -k . ]; }; }
if [ -e "$n" ] && ! is_writable && ! e=$( (: >>"$n") 2>&1 ); then
  # A program that runs can be replaced.
  case $e in *"ext file busy") ;; *) fail "cannot be written" "$e" ;; esac
fi
old=; mask=022
if [ -e "$n" ]; then
  old=$(stat -c '%u:%g %a' "$n" 2>&1) || fail "cannot be written, since its mode cannot be read" "$old"
  mask=077
fi
trap '[ -z "$copy" ] || rm -f "$copy"' EXIT
i=0
until e=$( (umask $mask; set -C; : >"./.arl-$$-$i") 2>&1 ); do
  [ -e "./.arl-$$-$i" ] && [ "$i" -lt 99 ] || { i=; break; }
  i=$((i+1))
done
if [ -n "$i" ]; then
  copy=./.arl-$$-$i
  # Through cat, since the head of busybox does not say that the disk is full.
  e=$( { head -c "$size" | cat >"$copy"; } 2>&1 ) || fail "cannot be written" "$e"
  [ "$(wc -c <"$copy")" -eq "$size" ] || fail "cannot be written: not all of the content arrived"
  if [ -n "$old" ]; then
    [ "$(stat -c %u:%g "$copy")" = "${old% *}" ] || chown "${old% *}" "$copy" 2>/dev/null
    [ "$(stat -c %a "$copy")" = "${old#* }" ] || chmod "${old#* }" "$copy" 2>/dev/null
  else
    chmod 644 "$copy" 2>/dev/null
  fi
  if [ -z "$old" ] || [ "$(stat -c '%u:%g %a' "$copy")" = "$old" ]; then
    e=$(mv -f "$copy" "$n" 2>&1) && { copy=; written; }
    [ -n "$old" ] && ! is_full || fail "cannot be written" "$e"
  fi
  e=$( { cat "$copy" >"$n"; } 2>&1 ) || fail "cannot be written" "$e"
else
  [ -n "$old" ] && ! is_full || fail "cannot be written" "$e"
  e=$( { head -c "$size" | cat >"$n"; } 2>&1 ) || fail "cannot be written" "$e"
fi
written
