#!/usr/bin/env bash
# Prints the tables of docs/outcomes.md: every built-in workload with the ScaledObjects of examples/outcomes, fixed pods and perfect
# knowledge; then `demand` again with busy pods spared, without and with the floor of the metric.
#
#   scripts/outcomes.sh           all of them
#   scripts/outcomes.sh --quick   only whether it works, with the debug build and the two smallest workloads
#
# JOBRUNR_SCALER names a program to use instead of building one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

workloads=(burst steady sinusoid batch long-tail short-jobs recurring)
build=(cargo run --quiet --release --)
if [[ ${1:-} == --quick ]]; then
  workloads=(burst batch)
  build=(cargo run --quiet --)
fi
if [[ -n ${JOBRUNR_SCALER:-} ]]; then
  build=("$JOBRUNR_SCALER")
fi

manifests=()
for policy in guide sql-count latency demand; do
  manifests+=(--filename "examples/outcomes/$policy.yaml")
done
for workload in "${workloads[@]}"; do
  printf '\n### %s\n\n' "$workload"
  "${build[@]}" simulate "${manifests[@]}" --fixed 2 --fixed 5 --clairvoyant --workload "$workload" --output markdown
done

printf '\n## Busy pods spared\n'
spared=(--filename examples/outcomes/demand.yaml --filename examples/outcomes/demand-floor.yaml --spare-busy-pods)
for workload in "${workloads[@]}"; do
  printf '\n### %s, busy pods spared\n\n' "$workload"
  "${build[@]}" simulate "${spared[@]}" --workload "$workload" --output markdown
done
