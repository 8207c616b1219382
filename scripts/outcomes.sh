#!/usr/bin/env bash
# Prints the tables of docs/outcomes.md: every built-in workload with the ScaledObjects of examples/outcomes, fixed pods (2, 5, and the
# fewest with which 95 % of the jobs wait up to a minute) and perfect knowledge; then `demand` again with busy pods spared, without and
# with the floor of the metric. Needs jq.
#
#   scripts/outcomes.sh           all of them
#   scripts/outcomes.sh --quick   only whether it works, with the debug build and the two smallest workloads
#
# JOBRUNR_SCALER names a program to use instead of building one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/packages.sh
source scripts/lib/packages.sh

workloads=(burst steady sinusoid batch long-tail short-jobs recurring)
build=(cargo run --quiet --release --)
if [[ ${1:-} == --quick ]]; then
  workloads=(burst batch)
  build=(cargo run --quiet --features protect --)
fi
if [[ -n ${JOBRUNR_SCALER:-} ]]; then
  build=("$JOBRUNR_SCALER")
fi

manifests=()
for policy in guide sql-count latency demand demand-1min demand-5min; do
  manifests+=(--filename "examples/outcomes/$policy.yaml")
done

# fewest_pods WORKLOAD: prints the smallest number of fixed pods, of up to 50, with which 95 % of the jobs wait up to a minute.
fewest_pods() {
  local n numbers=()
  for ((n = 1; n <= 50; n++)); do
    numbers+=(--fixed "$n")
  done
  "${build[@]}" simulate "${numbers[@]}" --workload "$1" --output json |
    jq --raw-output '[.results[] | select(.latency_seconds.p95 <= 60) | .name | ltrimstr("fixed-")] | first // empty'
}

command -v jq >/dev/null || install_packages jq
for workload in "${workloads[@]}"; do
  fixed=()
  for n in $(printf '%s\n' 2 5 "$(fewest_pods "$workload")" | sort --numeric-sort --unique); do
    fixed+=(--fixed "$n")
  done
  printf '\n### %s\n\n' "$workload"
  "${build[@]}" simulate "${manifests[@]}" "${fixed[@]}" --clairvoyant --workload "$workload" --output markdown
done

printf '\n## Busy pods spared\n'
spared=(--filename examples/outcomes/demand.yaml --filename examples/outcomes/demand-floor.yaml --spare-busy-pods)
for workload in "${workloads[@]}"; do
  printf '\n### %s, busy pods spared\n\n' "$workload"
  "${build[@]}" simulate "${spared[@]}" --workload "$workload" --output markdown
done
