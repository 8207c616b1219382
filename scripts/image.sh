#!/usr/bin/env bash
# Builds the image without Docker, with Debian's buildah, and tries it: who it runs as, on a read-only root, what it answers over
# gRPC and HTTP, how large it is, and that there is nothing else in it.
#
#   scripts/image.sh                       as it is released (profile dist): some minutes
#   scripts/image.sh --profile release     compiled in less time, for a test; the image is larger then
#   scripts/image.sh --output FILE         also writes the image there, an OCI archive
#
# The program is built for musl and linked statically, as the Dockerfile does it, and the image by the Dockerfile's last stage. Where
# the musl target cannot be had, the image takes this machine's program with the libraries that it needs, says so, and is not
# written. Needs root (buildah's storage, chroot), on Linux.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/packages.sh
source scripts/lib/packages.sh

# Of a released image, in bytes: the program is all of it.
readonly MAX_SIZE=20000000
profile=dist output=
while (($#)); do
  case $1 in
  --profile) profile=$2 && shift 2 ;;
  --output) output=$2 && shift 2 ;;
  *) fail "usage: $0 [--profile release] [--output FILE]" ;;
  esac
done

require_rust
((EUID == 0)) || fail "$0 needs root: buildah keeps its layers without a user namespace, and the program is tried in a chroot"
command -v buildah >/dev/null || install_packages buildah
command -v python3 >/dev/null || install_packages python3
# Without a container runtime and an overlay file system.
export BUILDAH_ISOLATION=chroot

work=$(mktemp -d)
root=$work/mounted scaler='' container=''
clean_up() {
  if [[ -n $scaler ]]; then
    kill "$scaler" 2>/dev/null || true
    wait "$scaler" || true
  fi
  ! mountpoint --quiet "$root/data" || umount "$root/data"
  ! mountpoint --quiet "$root" || umount "$root"
  [[ -z $container ]] || image_tool umount "$container" >/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT

image_tool() {
  local command=$1
  shift
  buildah --storage-driver vfs --root "$work/storage" --runroot "$work/run" "$command" "$@"
}

# Builds the program, into a folder that stands in for the stage that builds it in the Dockerfile.
build_program() {
  local target
  target=$(rustc --print host-tuple 2>/dev/null || rustc -vV | sed -n 's/^host: //p')
  local musl=${target/-gnu/-musl} folder=$profile
  # Cargo's own name for it.
  [[ $profile != dev ]] || folder=debug
  mkdir "$work/build"
  if { rustup target list --installed | grep --quiet --line-regexp "$musl" || rustup target add "$musl"; } 2>/dev/null; then
    command -v musl-gcc >/dev/null || install_packages musl-tools
    cargo build --locked --profile "$profile" --features protect --target "$musl" --bin jobrunr-scaler
    cp "$target_folder/$musl/$folder/jobrunr-scaler" "$work/build/"
    is_static=1
  else
    echo "The target $musl cannot be had: this image has the program of this machine and its libraries. It is for the test only."
    cargo build --locked --profile "$profile" --features protect --bin jobrunr-scaler
    cp "$target_folder/$folder/jobrunr-scaler" "$work/build/"
    is_static=0
  fi
}

target_folder=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
version=$(cargo pkgid)
version=${version##*[#@]}
build_program
if ((is_static)); then
  # It may be position-independent, which ldd calls "statically linked" without an error.
  ! { ldd "$work/build/jobrunr-scaler" 2>/dev/null | grep --quiet "=>"; } || fail "the program is not linked statically"
fi

image_tool build --quiet --layers=false --build-context "build=$work/build" --format docker \
  --label "org.opencontainers.image.version=$version" \
  --label "org.opencontainers.image.revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
  --tag "jobrunr-scaler:$version" . >/dev/null
container=$(image_tool from "jobrunr-scaler:$version")
files=$(image_tool mount "$container")

# Nothing but the program: no shell, no libc, no package to update.
found=$(find "$files" -mindepth 1 -not -type d -printf '/%P\n' | sort)
if ((is_static)); then
  [[ $found == /jobrunr-scaler ]] || fail "the image has more than the program: $found"
else
  while read -r library; do
    mkdir -p "$files$(dirname "$library")" && cp "$library" "$files$library"
  done < <(ldd "$work/build/jobrunr-scaler" | grep --only-matching --extended-regexp '/[^ ]+')
fi
size=$(du --bytes --summarize "$files" | cut -f 1)
echo "The image has $((size / 1000)) kB."
if [[ $profile == dist ]]; then
  ((size <= MAX_SIZE)) || fail "the image has $size bytes, more than $MAX_SIZE"
fi

# What the image says of itself.
image_tool inspect --type image "jobrunr-scaler:$version" | python3 -c '
import json, sys
version = sys.argv[1]
image = json.load(sys.stdin)["Docker"]["config"]
labels = image["Labels"]
expected = {"title": "jobrunr-scaler", "licenses": "Apache-2.0", "version": version}
for name, value in expected.items():
    found = labels.get("org.opencontainers.image." + name)
    assert found == value, f"the label {name} is {found}, not {value}"
for name in ("description", "source", "documentation", "revision"):
    assert labels.get("org.opencontainers.image." + name), f"the label {name} is missing"
assert image["User"] == "65532:65532", image["User"]
assert image["Entrypoint"] == ["/jobrunr-scaler"] and image["Cmd"] == ["serve"], image
assert set(image["ExposedPorts"]) == {"9090/tcp", "8080/tcp"}, image["ExposedPorts"]
assert image["Healthcheck"]["Test"] == ["CMD", "/jobrunr-scaler", "health"], image.get("Healthcheck")
assert not any(name.startswith("JOBRUNR_SCALER_") for name in image.get("Env") or []), image["Env"]
' "$version"

# Tries it as the image's user on a read-only root, with its own database: JobRunr's tables on SQLite.
mkdir "$work/data" "$root" && mkdir -p "$files/data"
python3 -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.stdin.read())' "$work/data/jobs.db" <src/demo/jobrunr.sql
cp k8s/scaledobject.yaml "$work/data/"
chown -R 65532:65532 "$work/data"
mount --bind "$files" "$root"
mount --bind "$work/data" "$root/data"
mount -o remount,bind,ro "$root"
! touch "$root/written" 2>/dev/null || fail "the root of the test is not read-only"

run() {
  chroot --userspec=65532:65532 "$root" /jobrunr-scaler "$@"
}

# Ports that are free now.
read -r grpc http < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in sockets))')
run --version
JOBRUNR_SCALER_URL=sqlite:/data/jobs.db JOBRUNR_SCALER_HTTP=127.0.0.1:$http JOBRUNR_SCALER_LISTEN=127.0.0.1:$grpc \
  chroot --userspec=65532:65532 "$root" /jobrunr-scaler serve 2>"$work/log" &
scaler=$!
for _ in {1..100}; do
  ! run health --http "127.0.0.1:$http" 2>/dev/null || break
  kill -0 "$scaler" 2>/dev/null || fail "the scaler of the image ended: $(cat "$work/log")"
  sleep 0.1
done
run health --http "127.0.0.1:$http" || fail "the scaler of the image is not healthy: $(cat "$work/log")"
[[ $(stat --format %u "/proc/$scaler") == 65532 ]] || fail "the scaler does not run as user 65532"
answer=$(run explain --scaler "127.0.0.1:$grpc" --filename /data/scaledobject.yaml) ||
  fail "the scaler of the image does not answer: $answer $(cat "$work/log")"
grep --quiet --extended-regexp "demand +0 +8 +AverageValue +no" <<<"$answer" || fail "the scaler of the image answers: $answer"
python3 -c 'import sys, urllib.request; assert b"What KEDA was told" in urllib.request.urlopen(sys.argv[1]).read()' "http://127.0.0.1:$http/"
kill "$scaler"
wait "$scaler" || fail "the scaler of the image did not stop as it should: $(cat "$work/log")"
scaler=''

if [[ -n $output ]]; then
  ((is_static)) || fail "$output is not written: its program is not static"
  rm -f "$output"
  image_tool push --quiet "jobrunr-scaler:$version" "oci-archive:$output:jobrunr-scaler:$version"
  echo "$output: $(sha256sum "$output" | cut -d ' ' -f 1)"
fi
echo "The image of $version works: as user 65532, on a read-only root, without a shell."
