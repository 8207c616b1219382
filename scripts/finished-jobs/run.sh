#!/usr/bin/env bash
# Prints tests/data/finished-jobs.tsv: the records of a few jobs as JobRunr 6, 7 and 8 write them with each JSON mapper that there is
# a package of (Kotlinx's is not in Maven's repository). Needs a JDK and Maven; takes two minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for major in 6 7 8; do
  mvn --batch-mode --quiet -P "jobrunr-$major" compile exec:java -Dorg.slf4j.simpleLogger.defaultLogLevel=off >"$work/$major"
  # Maven prints colors around what the program prints.
  sed 's/\x1b\[0m//g' "$work/$major" | grep --perl-regexp '^\d+\.\d+\.\d+\t'
done
