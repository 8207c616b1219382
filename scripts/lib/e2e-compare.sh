# shellcheck shell=bash disable=SC2034,SC2154
# Compares what the scaler says with what JobRunr's dashboard says of the same moment. A library, to be sourced.
# Needs e2e-processes.sh, and $dashboard_url and $scaler_address, which that sets.

# How far the two latencies may be apart, in seconds: the dashboard's own clock runs on between its answer and ours.
readonly LATENCY_TOLERANCE=2

# jq itself knows no fractions of a second.
# shellcheck disable=SC2016 # jq's own $
readonly JQ_INSTANT='def instant: capture("^(?<seconds>[^.Z]+)(\\.(?<fraction>[0-9]+))?Z$")
  | (.seconds + "Z" | fromdateiso8601) + ("0." + (.fraction // "0") | tonumber);'

# Prints one page of the dashboard's jobs in a state, the oldest first.
dashboard_jobs() {
  curl --silent --show-error --fail --max-time 30 \
    "$dashboard_url/api/jobs?state=$1&offset=0&limit=$2&order=updatedAt:ASC"
}

# Prints our metrics as they follow from the dashboard's API, as one JSON object, and `latencySince`, the instant since
# which the oldest job waits, which unlike a latency stays the same from one read to the next.
dashboard_read() {
  local enqueued processing scheduled servers
  enqueued=$(dashboard_jobs ENQUEUED 1) && processing=$(dashboard_jobs PROCESSING 1000) &&
    scheduled=$(dashboard_jobs SCHEDULED 1000) &&
    servers=$(curl --silent --show-error --fail --max-time 30 "$dashboard_url/api/servers") || return
  jq --null-input --compact-output --argjson enqueued "$enqueued" --argjson processing "$processing" \
    --argjson scheduled "$scheduled" --argjson servers "$servers" "$JQ_INSTANT"'
      def due_in(seconds): map(select((.jobHistory[-1].scheduledAt | instant) <= now + seconds)) | length;
      # The dashboard also lists servers that are dead, as long as no other server removed them.
      ([$servers[] | select(now - (.lastHeartbeat | instant) <= 4 * .pollIntervalInSeconds) | .workerPoolSize] | add // 0)
        as $workers
      # A server refreshes the jobs that it runs as it does its own heartbeat. A job without a fresh one occupies nothing
      # any more: JobRunr calls it an orphan and runs it again as soon as some server lives.
      | (4 * ([$servers[].pollIntervalInSeconds] | max // 15)) as $timeout
      | ([$processing.items[] | select(now - (.jobHistory[-1].updatedAt | instant) <= $timeout)] | length) as $occupied
      | ($enqueued.items[0] | if . then .jobHistory[-1].createdAt | instant else null end) as $since
      | {
          "enqueued-latency": (if $since then [now - $since, 0] | max else 0 end),
          "enqueued-count": $enqueued.total,
          "scheduled-count PT1M": ($scheduled.items | due_in(60)),
          "scheduled-count PT2H": ($scheduled.items | due_in(7200)),
          "occupied-workers": $occupied,
          "total-workers": $workers,
          "worker-usage": (if $workers > 0 then $occupied / $workers else 0 end),
          # Recurring jobs and jobs that await a deadline count too; there are none in any of these situations.
          "demand PT1M": ($enqueued.total + $processing.total + ($scheduled.items | due_in(60))),
          latencySince: $since
        }'
}

# Succeeds when the dashboard's numbers satisfy the jq condition.
dashboard_says() {
  dashboard_read >"$work/dashboard.json" && jq --exit-status "$1" "$work/dashboard.json" >/dev/null
}

# Writes a ScaledObject that asks for everything, in the order in which scaler_read names the answers.
write_manifest() {
  cat >"$1" <<'YAML'
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: compare
spec:
  scaleTargetRef:
    name: compare
  minReplicaCount: 0
  triggers:
YAML
  local name
  for name in enqueued-latency enqueued-count "scheduled-count PT1M" "scheduled-count PT2H" occupied-workers \
    total-workers worker-usage "demand PT1M"; do
    cat >>"$1" <<YAML
    - type: external
      metricType: Value
      metadata:
        scalerAddress: jobrunr-scaler.keda:9090
        metric: ${name% *}
        targetValue: "1"
YAML
    # PT1M is left out: it is the default, and the default is to be right, too.
    [[ $name != *PT2H ]] || echo '        scheduledIn: PT2H' >>"$1"
  done
}

# Prints what the running scaler answers, in the form of dashboard_read.
scaler_read() {
  [[ -f $work/compare.yaml ]] || write_manifest "$work/compare.yaml"
  # explain has words for an odd ScaledObject, and ours is one: its exit code is not of interest, its numbers are.
  { "$scaler" explain -f "$work/compare.yaml" --scaler "$scaler_address" --replicas 1 --output json || true; } |
    jq --compact-output --exit-status '
      .scaledObjects[0].triggers as $t
      | ["enqueued-latency", "enqueued-count", "scheduled-count PT1M", "scheduled-count PT2H", "occupied-workers",
         "total-workers", "worker-usage", "demand PT1M"]
      | [to_entries[] | {key: .value, value: $t[.key].value}] | from_entries'
}

# compare BACKEND VERSION SITUATION: adds the rows of a situation to the table and sets differences when one is not ok.
compare() {
  local before ours after rows deadline=$((SECONDS + 30))
  while true; do
    before=$(dashboard_read)
    # Longer than the scaler keeps an answer: ours is then not from before the dashboard's first.
    sleep 0.2
    ours=$(scaler_read) || { fail "$1, JobRunr $2, $3: the scaler gave no answer"; return; }
    after=$(dashboard_read)
    # Only what did not change while we looked can be compared.
    if jq --null-input --exit-status --argjson a "$before" --argjson b "$after" \
      '[$a, $b | del(."enqueued-latency")] | .[0] == .[1]' >/dev/null; then
      break
    fi
    ((SECONDS < deadline)) || { fail "$1, JobRunr $2, $3: the dashboard's numbers never stood still"; return; }
  done
  rows=$(jq --null-input --raw-output --argjson a "$before" --argjson b "$after" --argjson ours "$ours" \
    --argjson tolerance "$LATENCY_TOLERANCE" '
      def short: . * 100 | round / 100;
      $b | del(.latencySince) | to_entries[]
      | .key as $metric | $ours[$metric] as $value
      | [ $metric, (.value | short), ($value | if . == null then "none" else short end),
          (if $value == null then "NO"
           elif $metric == "enqueued-latency" then
             if $value >= $a[$metric] - $tolerance and $value <= .value + $tolerance then "ok" else "NO" end
           # KEDA gets thousandths.
           elif ($value - .value | fabs) <= 0.001 then "ok" else "NO" end) ]
      | @tsv')
  local metric dashboard value ok
  while IFS=$'\t' read -r metric dashboard value ok; do
    printf '%-10s  %-7s  %-15s  %-20s  %9s  %9s  %s\n' "$1" "$2" "$3" "$metric" "$dashboard" "$value" "$ok"
    [[ $ok == ok ]] || differences=$((differences + 1))
  done <<<"$rows"
}
