#!/usr/bin/env bash
# Packs a program with its completions and manual pages: pack.sh PROGRAM VERSION TARGET FOLDER writes
# FOLDER/jobrunr-scaler-VERSION-TARGET.tar.gz. The program must run on this machine.
set -euo pipefail

program=$1 version=$2 target=$3 output=$4
name=jobrunr-scaler-$version-$target
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/$name/completions" "$folder/$name/man" "$output"
cp "$program" "$(dirname "${BASH_SOURCE[0]}")"/../../{LICENSE,README.md,CHANGELOG.md} "$folder/$name/"
for shell in bash zsh fish elvish powershell; do
  "$program" completions "$shell" >"$folder/$name/completions/jobrunr-scaler.$shell"
done
bash -n "$folder/$name/completions/jobrunr-scaler.bash"
"$program" man >"$folder/$name/man/jobrunr-scaler.1"
n_pages=0
for command in $("$program" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\) .*/\1/p'); do
  [[ $command != help ]] || continue
  "$program" man "$command" >"$folder/$name/man/jobrunr-scaler-$command.1"
  n_pages=$((n_pages + 1))
done
((n_pages > 8)) || { echo "only $n_pages manual pages were made" >&2; exit 1; }
tar -c -z -f "$output/$name.tar.gz" -C "$folder" "$name"
