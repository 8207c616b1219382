# shellcheck shell=bash disable=SC2034,SC2154
# Shows that busy pods are spared: real workers with the names of pods, `protect` on their database and a tiny Kubernetes API, and a
# ReplicaSet that is played by its rule: the lowest deletion cost goes first, of equal ones the youngest. A library, to be sourced.
# Needs e2e-processes.sh, e2e-compare.sh and `check` of e2e.sh.

# Prints the pods that run jobs by JobRunr's own word, in order.
busy_servers() {
  dashboard_jobs PROCESSING 100 | jq --raw-output '[.items[].jobHistory[-1].serverName] | unique[]'
}

# Succeeds when jobs run and every busy pod costs more than every idle one.
costs_fit() {
  local busy
  busy=$(busy_servers) && [[ -n $busy ]] && curl --silent --fail "$api_url/costs" | awk -v busy="$busy" '
    BEGIN { split(busy, names, "\n"); for (i in names) is_busy[names[i]]; lowest = 1e9; highest = -1e9 }
    $1 in is_busy { if ($2 < lowest) lowest = $2; next }
    { if (highest < $2) highest = $2 }
    END { exit highest < lowest ? 0 : 1 }'
}

# start_named_worker NAME: sets process_id.
start_named_worker() {
  JOBRUNR_BACKGROUNDJOBSERVER_NAME=$1 JOBRUNR_BACKGROUND_JOB_SERVER_NAME=$1 start_app "$1" workers "${jars[8]}"
}

protect_pods() {
  local wrong=0 api_url table busy victims name tries fits=no
  declare -A pods
  new_database postgresql protect
  start_web protect-web "${jars[8]}"
  start_process api python3 scripts/lib/e2e-api.py workers-1 workers-2 workers-3
  wait_for 10 "the API" logged "$process_id" '^listening \d+'
  api_url=http://127.0.0.1:$(from_log "$process_id" '^listening \K\d+')
  cat >"$work/kubeconfig" <<END
apiVersion: v1
kind: Config
clusters: [{name: tiny, cluster: {server: "$api_url"}}]
users: [{name: nobody, user: {}}]
contexts: [{name: tiny, context: {cluster: tiny, user: nobody, namespace: jobs}}]
current-context: tiny
END
  export KUBECONFIG=$work/kubeconfig JOBRUNR_SCALER_URL=$scaler_url JOBRUNR_SCALER_USERNAME=$JDBC_USERNAME \
    JOBRUNR_SCALER_PASSWORD=$JDBC_PASSWORD JOBRUNR_SCALER_HTTP=off
  NO_COLOR=1 start_process protect "$scaler" protect
  for name in workers-1 workers-2 workers-3; do
    start_named_worker "$name"
    pods[$name]=$process_id
  done
  wait_for 180 "three servers" dashboard_says '."total-workers" == 12'

  # Short jobs anywhere, and then a long one on one of them.
  call_web '/enqueue-example-jobs?count=12&duration=PT5S'
  wait_for 60 "the short jobs" dashboard_says '."occupied-workers" > 0'
  wait_for 120 "the short jobs to end" dashboard_says '."occupied-workers" == 0 and ."enqueued-count" == 0'
  call_web '/enqueue-example-jobs?count=1&duration=PT1M'
  wait_for 30 "the long job" dashboard_says '."occupied-workers" == 1'
  for ((tries = 0; tries < 25; tries++)); do
    if costs_fit; then fits=yes; break; fi
    sleep 0.2
  done
  busy=$(busy_servers)
  table=$("$scaler" check --protect)
  echo "$table"
  check "costs in order within 5 s of the job's start" yes "$fits"
  check "servers of which check --protect shows the pod" 3 "$(grep --count 'jobs/workers-' <<<"$table" || true)"

  # From three pods to one. Without costs the youngest two go, and any may be the youngest: two of three scale-ins cut the job.
  victims=$(curl --silent --fail "$api_url/costs" | sort --key 2n | head --lines 2 | awk '{print $1}')
  check "busy pods among the two with the lowest cost" 0 "$(grep --count --line-regexp "$busy" <<<"$victims" || true)"
  for name in $victims; do
    stop_processes TERM "${pods[$name]}"
  done
  wait_for 120 "all jobs to be done" dashboard_says '."occupied-workers" == 0 and ."enqueued-count" == 0'
  check "jobs that succeeded at the first attempt" 13 "$(dashboard_jobs SUCCEEDED 100 | jq '[.items[]
    | select([.jobHistory[] | select(.state == "PROCESSING")] | length == 1)] | length')"
  unset KUBECONFIG JOBRUNR_SCALER_URL JOBRUNR_SCALER_USERNAME JOBRUNR_SCALER_PASSWORD JOBRUNR_SCALER_HTTP
  ((wrong == 0)) || fail "busy pods were not spared as they should"
}
