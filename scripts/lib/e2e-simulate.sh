# shellcheck shell=bash disable=SC2034,SC2154
# Compares `simulate` with what happened: bursts of jobs with real workers under the played KEDA, and the same jobs, taken from the
# database afterwards, in the simulation of the same ScaledObject. A library, to be sourced. Needs e2e-processes.sh,
# e2e-compare.sh and e2e-autoscale.sh.

# The example application's own settings (application-workers.yml), in seconds, and its workers.
readonly SIMULATED_POLL_INTERVAL=5 SIMULATED_AWAIT=15 SIMULATED_WORKERS=4
# KEDA and the HPA act at random instants within their intervals, of which the waits depend. So the real course is compared with the mean
# of those simulated ones in which they act as in reality, up to so many seconds apart: the first pod, and the first change after it.
readonly SIMULATED_SEEDS=120 SIMULATED_TOLERANCE=2

# The bursts: at which second, what, and how many. The duration is no multiple of the poll interval: the jobs of one fetch end at once,
# and whether they end before or after a poll must not depend on milliseconds.
bring_work() {
  # Each request once, by its second.
  local second request
  while read -r second request; do
    if (($1 >= second)) && [[ -z ${brought[$second]:-} ]]; then
      brought[$second]=yes
      call_web "$request"
    fi
  done <<'BURSTS'
2 /enqueue-example-jobs?count=28&duration=PT7S
55 /enqueue-example-jobs?count=42&duration=PT7S
65 /schedule-example-jobs?count=18&runIn=PT70S&duration=PT7S
BURSTS
  (($1 < 70))
}

simulation() {
  local jar=${jars[8]} manifest=$work/simulated.yaml pod_start wrong=0
  local -A brought=()
  # No multiples of one another: what is due at the very instant of another's turn would depend on the milliseconds.
  polling_interval=5 cooldown_period=28 down_stabilization=25
  # One pod after the other: Java's virtual machines that start together take each other's time, and the simulation has one time for all.
  up_pods=1 up_percent=0
  write_simulated_manifest >"$manifest"
  play_course simulation "$manifest" "$jar" bring_work 400
  echo "Until their servers announced themselves, pods took $(paste --serial --delimiters=, "$work/starts") s; $pod_start s on average."
  measure_course >"$work/real.json"
  simulate_history "$manifest" "$pod_start" >"$work/simulated.json"
  echo "In $(jq length "$work/simulated.json") of $SIMULATED_SEEDS simulated courses KEDA and the HPA act as in reality. The first of them:"
  jq --raw-output --slurpfile real "$work/real.json" '
    def course: map("\(.[1]) at \(.[0] | round) s") | join(", ");
    "real       \($real[0].replicas | course)", "simulated  \(.[0].replicas | course)"' "$work/simulated.json"
  printf '%-22s  %8s  %9s  %17s  %7s\n' "" real simulated "lowest to highest" "at most"
  compare_course "$work/simulated.json"
  ((wrong == 0)) || { fail "the simulation and the real course differ in $wrong numbers"; return; }

  # A comparison that cannot fail shows nothing: pods that take half a minute more must be noticed.
  simulate_history "$manifest" "$(awk "BEGIN {print $pod_start + 30}")" >"$work/late.json"
  compare_course "$work/late.json" >/dev/null
  ((wrong > 0)) || fail "the comparison does not notice pods that take half a minute more"
}

# play_course DATABASE MANIFEST JAR BRING SECONDS: plays the ScaledObject on a new database until all pods have ended; BRING brings the
# work. Sets pod_start, the mean of what is in $work/starts.
play_course() {
  new_database postgresql "$1"
  start_web guide-web "$3"
  start_scaler guide-scaler
  rm -f "$work/pods.tsv" "$work/replicas.tsv" "$work/logs"/guide-workers-*.log
  on_scale=true
  on_second=$4
  autoscale "$2" "$3" "$5"
  wait_for 60 "the end of the last pod" pods_have_ended
  measure_pod_starts >"$work/starts"
  pod_start=$(awk '{sum += $1} END {if (!NR) exit 1; printf "%.1f", sum / NR}' "$work/starts")
}

# The ScaledObject, with the played KEDA's times.
write_simulated_manifest() {
  cat <<YAML
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: simulated
spec:
  scaleTargetRef:
    name: jobrunr-workers
  minReplicaCount: 0
  maxReplicaCount: 3
  pollingInterval: $polling_interval
  cooldownPeriod: $cooldown_period
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleUp:
          policies:
            - type: Pods
              value: $up_pods
              periodSeconds: 10
        scaleDown:
          stabilizationWindowSeconds: $down_stabilization
  triggers:
    - type: external
      metricType: AverageValue
      metadata:
        scalerAddress: jobrunr-scaler.keda:9090
        metric: demand
        targetValue: "8"
        scheduledIn: PT30S
YAML
}

pods_have_ended() {
  [[ $(grep -c ^began "$work/pods.tsv") == $(grep -c ^ended "$work/pods.tsv") ]]
}

# Prints for each pod the seconds from its start to the line with which its server announces itself.
measure_pod_starts() {
  local name began line
  while IFS=$'\t' read -r _ name began; do
    line=$(grep --max-count 1 'BackgroundJobPerformers started successfully' "$work/logs/$name.log") || continue
    echo "$(date --date "${line%% *}" +%s.%N) $began" | awk '{printf "%.1f\n", $1 - $2}'
  done < <(grep ^began "$work/pods.tsv")
}

# Prints p50 and p95 of the waits, from due to the first start, the pod-hours, the most pods, the jobs, and the changes of the replicas
# since the first job came, as JSON.
measure_course() {
  local pod_seconds replicas
  replicas=$(jq --raw-input --slurp --compact-output 'split("\n") | map(select(. != "") | split("\t") | map(tonumber))' \
    "$work/replicas.tsv")
  pod_seconds=$(awk -F'\t' '{sum += $1 == "began" ? -$3 : $3} END {print sum}' "$work/pods.tsv")
  dashboard_jobs SUCCEEDED 1000 | jq --compact-output --argjson pod_seconds "$pod_seconds" --argjson peak "$peak" \
    --argjson replicas "$replicas" "$JQ_INSTANT"'
    # The value below or at which that share of the waits is.
    def quantile(share): sort | .[([(length * share | ceil) - 1, 0] | max)];
    ([.items[].jobHistory[0].createdAt | instant] | min) as $first
    | [.items[].jobHistory
      | (if .[0].state == "SCHEDULED" then .[0].scheduledAt else .[0].createdAt end | instant) as $due
      | (map(select(.state == "PROCESSING"))[0].createdAt | instant) as $start
      | [$start - $due, 0] | max] as $waits
    | {jobs: ($waits | length), p50: ($waits | quantile(0.5)), p95: ($waits | quantile(0.95)), pod_hours: ($pod_seconds / 3600),
       max_pods: $peak, replicas: ($replicas | map([.[0] - $first, .[1]]))}'
}

# simulate_history MANIFEST POD_START: prints one JSON array with the results of those seeds with which KEDA and the HPA act as in
# reality. The jobs are taken from the database once.
simulate_history() {
  local seed workload
  for ((seed = 1; seed <= SIMULATED_SEEDS; seed++)); do
    workload=(--workload "$work/jobs.csv")
    ((seed > 1)) || workload=(--workload history --since PT1H --export-workload "$work/jobs.csv")
    with_storage "$scaler" simulate --filename "$1" "${workload[@]}" --workers-per-pod $SIMULATED_WORKERS --pod-start "PT$2S" \
      --poll-interval "PT${SIMULATED_POLL_INTERVAL}S" --await-on-stop "PT${SIMULATED_AWAIT}S" --seed "$seed" --output json \
      2>>"$work/logs/simulate.log"
  done | jq --slurp --compact-output --slurpfile real "$work/real.json" --argjson tolerance $SIMULATED_TOLERANCE '
    def begins: [.[] | select(.[1] > 0)] | [.[0][0], .[1][0]];
    ($real[0].replicas | begins) as $begins
    | map(.workload.jobs as $jobs | .results[0]
      | select([.replicas | begins, $begins] | transpose | all(((.[0] // 0) - (.[1] // 0) | fabs) <= $tolerance))
      | {jobs: $jobs, p50: .latency_seconds.p50, p95: .latency_seconds.p95, pod_hours, max_pods, replicas})
    | if length == 0 then error("no simulated course begins as the real one") else . end'
}

# compare_course FILE: prints the table and sets wrong. Waits may differ by 15 % or one poll interval, pod-hours by 10 %.
compare_course() {
  local name real simulated range limit ok
  while IFS=$'\t' read -r name real simulated range limit ok; do
    printf '%-22s  %8s  %9s  %17s  %7s  %s\n' "$name" "$real" "$simulated" "$range" "$limit" "$ok"
    [[ $ok == ok ]] || wrong=$((wrong + 1))
  done < <(jq --raw-output --slurpfile real "$work/real.json" --argjson poll $SIMULATED_POLL_INTERVAL '
    def short: . * 1000 | round / 1000 | tostring;
    . as $runs | $real[0] as $real
    | [["jobs", "jobs", 0], ["p50 of the waits, s", "p50", ([0.15 * $real.p50, $poll] | max)],
       ["p95 of the waits, s", "p95", ([0.15 * $real.p95, $poll] | max)], ["pod-hours", "pod_hours", 0.1 * $real.pod_hours],
       ["most pods", "max_pods", 0]][]
    | .[1] as $key | .[2] as $limit | [$runs[][$key]] as $values | ($values | add / length) as $mean
    | [.[0], ($real[$key] | short), ($mean | short), "\($values | min | short) to \($values | max | short)", ($limit | short),
       (if ($mean - $real[$key] | fabs) <= $limit + 1e-9 then "ok" else "NO" end)]
    | @tsv' "$1")
}
