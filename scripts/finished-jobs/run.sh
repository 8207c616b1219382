#!/usr/bin/env bash
# Prints tests/data/finished-jobs.tsv: the records of a few jobs as JobRunr 6, 7 and 8 write them with each JSON mapper that they have.
# Arguments are the profiles of pom.xml to run, all if there is none. Needs a JDK and Maven; takes two minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if (($# == 0)); then
  set -- jobrunr-6 jobrunr-7 jobrunr-8 jobrunr-8-kotlinx
fi
for profile in "$@"; do
  mvn --batch-mode --quiet -P "$profile" compile exec:java -Dorg.slf4j.simpleLogger.defaultLogLevel=off >"$work/$profile"
  # Maven prints colors around what the program prints.
  sed 's/\x1b\[0m//g' "$work/$profile" | grep --perl-regexp '^\d+\.\d+\.\d+\t'
done
