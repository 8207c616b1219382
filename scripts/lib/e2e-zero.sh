# shellcheck shell=bash disable=SC2034,SC2154
# Shows that zero pods are safe with the metric demand: four scenarios on PostgreSQL, then two of them with MongoDB's protocol, each
# with a database, a scaler and a web role of its own, at the same time. A library, to be sourced. Needs e2e-processes.sh, e2e-compare.sh and `check` of e2e.sh.

# KEDA's part, in seconds. Short, so that zero is reached within a minute: at zero is where a run could be lost.
readonly ZERO_POLLING_INTERVAL=1 ZERO_COOLDOWN=2
# How far from its instant a run may begin. JobRunr begins up to a poll interval early, and fetches work once in a poll
# interval, which is 5 s here; the rest is for a busy machine.
readonly ZERO_TOLERANCE=12

# The scenarios that run, process id to name.
declare -gA scenarios=()

# JobRunr 8: a recurring job that was defined while no worker lived. The master writes each run ahead of time.
zero_recurring() {
  local first_why second_why ahead
  begin_scenario 8 PT20S "a recurring job, defined at zero"
  # Six fields: the first is the second.
  call_web '/schedule-recurring-job?id=tick&cron=0%20*%20*%20*%20*%20*&duration=PT1S'
  keda_until 20 "a worker for the definition" worker_lives
  first_why=$why
  keda_until 150 "the first run, and zero" succeeded_at_zero 1
  ahead=$(dashboard_jobs SCHEDULED 10 | jq .total)
  keda_until 90 "a worker for the second run" worker_lives
  second_why=$why
  keda_until 90 "the second run, and zero" succeeded_at_zero 2
  expect "woken, and the reason names it" yes "$(says "$first_why" "recurring job \`tick\` has no next run")"
  expect "its next runs, written ahead, at zero" 1 "$ahead"
  expect "woken again by that run" yes "$(says "$second_why" "1 due within PT20S")"
  check_runs 2
}

# JobRunr 7: nothing tells of a run before a master looks within the poll interval before its instant.
zero_cron() {
  local first tick late jobs
  begin_scenario 7 PT30S "a cron job per minute"
  # So that the first instant is more than a look-ahead away. A worker that comes too late for its run is stopped while it starts, and
  # can leave the row of a dead master, which the next ones wait for.
  keda_until 60 "the beginning of a minute" minute_begins
  call_web '/schedule-recurring-job?id=tick&cron=*%20*%20*%20*%20*&duration=PT1S'
  first=$(((EPOCHSECONDS / 60 + 1) * 60))
  for tick in "$first" $((first + 60)) $((first + 120)); do
    keda_until 120 "the instant $(clock "$tick")" has_come "$tick"
    keda_until 40 "zero after $(clock "$tick")" at_zero
  done
  # Of each run the instant for which it was, and how far from it it began.
  dashboard_jobs SUCCEEDED 100 >"$work/zero/$scenario.json"
  jobs=$(jq --raw-output --argjson first "$first" "$JQ_INSTANT"' [.items[]
    | {tick: (.jobHistory[0].scheduledAt | instant),
       began: (.jobHistory[] | select(.state == "PROCESSING") | .createdAt | instant)}
    | select(.tick >= $first)] | sort_by(.tick)[] | "\(.tick) \(.began - .tick)"' "$work/zero/$scenario.json")
  echo "$jobs" | while read -r tick late; do
    say "the run of $(clock "$tick") began $(printf %.1f "$late") s after it"
  done
  for tick in "$first" $((first + 60)) $((first + 120)); do
    expect "runs for $(clock "$tick"), in time" 1 \
      "$(awk -v tick="$tick" -v near=$ZERO_TOLERANCE '$1 == tick && -near <= $2 && $2 <= near' <<<"$jobs" | wc -l)"
  done
  expect "runs for any other instant" 0 \
    "$(awk -v first="$first" '($1 - first) % 60 || $1 > first + 120' <<<"$jobs" | grep --count . || true)"
  expect "times with no pod between two of them" 2 "$(awk -v first="$first" \
    'first < $1 && $1 < first + 120 && $4 == 0 {n[int(($1 - first) / 60)]} END {for (i in n) print}' \
    "$work/zero/$scenario.answers" | wc -l)"
  check_rest
}

# A worker that is killed leaves its job in PROCESSING. Nothing but a live server ever frees it.
zero_killed() {
  local since before
  begin_scenario 8 PT20S "a worker killed in the middle of a job"
  call_web '/enqueue-example-jobs?count=1&duration=PT15S'
  since=$EPOCHREALTIME
  keda_until 120 "the job to run" jobs_in PROCESSING 1
  stop_processes KILL "$worker"
  worker=''
  say "the worker is killed"
  # No new worker for a while: the orphan alone has to keep the trigger active, however long it takes.
  hold=yes
  keda_until 60 "an orphan" reason_says '1 orphan'
  before=$why
  say "${before%%; target:*}"
  keda_until 10 "five more seconds" has_come $((EPOCHSECONDS + 5))
  expect "jobs in PROCESSING without a worker" 1 "$(dashboard_jobs PROCESSING 10 | jq .total)"
  hold=''
  keda_until 150 "the job to be rescued and finished, and zero" succeeded_at_zero 1
  expect "the reason says what JobRunr does with it" yes "$(says "$before" "JobRunr requeues it as soon as a server is alive")"
  expect "starts of the job" 2 "$(job_starts)"
  expect "what became of it" "$(states ENQUEUED PROCESSING FAILED SCHEDULED ENQUEUED PROCESSING SUCCEEDED)" "$(job_states)"
  check_active "$since"
  check_rest
}

# A job that takes far longer than the cooldown.
zero_long() {
  local since
  begin_scenario 8 PT20S "a job of two minutes"
  call_web '/enqueue-example-jobs?count=1&duration=PT2M'
  since=$EPOCHREALTIME
  keda_until 120 "the job to run" jobs_in PROCESSING 1
  expect "the target: the workers of the live pod" 4 "$target"
  keda_until 180 "the job to be done, and zero" succeeded_at_zero 1
  expect "what became of it" "$(states ENQUEUED PROCESSING SUCCEEDED)" "$(job_states)"
  expect "starts and ends in the worker's log" "1 1" "$(job_starts) $(job_ends)"
  expect "workers started" 1 "$workers_started"
  check_active "$since"
  check_rest
}

# zero BACKEND SCENARIO...: runs them at the same time and prints their tables.
zero() {
  local backend=$1 name id failed=()
  shift
  mkdir -p "$work/zero"
  for name; do
    (run_scenario "$name" "$backend") &
    scenarios[$!]=$name
  done
  for id in "${!scenarios[@]}"; do
    wait "$id" || failed+=("${scenarios[$id]}")
    unset "scenarios[$id]"
  done
  for name; do
    cat "$work/zero/$name-$backend.table" 2>/dev/null || true
  done
  ((${#failed[@]} == 0)) || fail "did not go as it should on $backend: ${failed[*]}"
}

# run_scenario NAME BACKEND: in a separate shell. What it started ends with that shell.
run_scenario() {
  local backend=$2 scenario=$1-$2 wrong=0 manifest worker='' workers_started=0 hold='' last_active=$SECONDS
  local value='' target='' active='' why=''
  exec 4>"$work/zero/$scenario.table"
  "zero_$1"
  stop_processes KILL "${!processes[@]}"
  say "done"
  # When another scenario fails, these would only be in the way.
  ((wrong > 0)) || rm "$work/logs/zero-$scenario"-*.log
  ((wrong == 0))
}

# begin_scenario MAJOR SCHEDULED_IN TITLE: a database, a web role, a scaler, a manifest, and nothing to do.
begin_scenario() {
  jar=${jars[$1]}
  new_database "$backend" "zero_${scenario//-/_}"
  start_web "zero-$scenario-web" "$jar"
  start_scaler "zero-$scenario-scaler"
  manifest=$work/zero/$scenario.yaml
  cat >"$manifest" <<YAML
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: zero-$scenario
spec:
  scaleTargetRef:
    name: jobrunr-workers
  minReplicaCount: 0
  maxReplicaCount: 10
  triggers:
    - type: external-push
      metricType: AverageValue
      metadata:
        scalerAddress: jobrunr-scaler.keda:9090
        metric: demand
        targetValue: auto
        scheduledIn: $2
YAML
  keda
  printf '%s\n' "-- JobRunr ${versions[$1]} on $backend: $3" >&4
  expect "demand, with nothing to do" "0 false" "$value $active"
}

# Asks the running scaler once, as KEDA does. Sets value, target and active, and notes the instant, the answer, and the
# worker that there was.
ask_demand() {
  local answer
  answer=$("$scaler" explain -f "$manifest" --scaler "$scaler_address" --output json || true)
  if ! read -r value target active < <(jq --raw-output '.scaledObjects[0].triggers[0]
    | select(.error == null) | "\(.value) \(.target) \(.active)"' <<<"$answer"); then
    fail "$scenario: explain did not answer: $answer"
    return
  fi
  echo "$EPOCHREALTIME $value $active ${worker:-0}" >>"$work/zero/$scenario.answers"
}

# Sets why: the reasons. KEDA's contract has no place for them, so explain reads the database itself.
ask_why() {
  why=$(with_storage "$scaler" explain -f "$manifest" --output json | jq --raw-output '.scaledObjects[0].triggers[0].reasons | join("; ")')
}

# KEDA's part for one pod: a worker while the trigger is active, none when it has not been for the cooldown. Demand of one
# job never asks for more.
keda() {
  ask_demand || return
  local was=0
  if [[ -n $worker ]]; then
    was=1
    kill -0 "$worker" 2>/dev/null || { fail "$scenario: the worker ended by itself"; return; }
  fi
  [[ $active == false ]] || last_active=$SECONDS
  if ((was == 0)) && [[ $active == true && -z $hold ]]; then
    ask_why
    say "0 -> 1  ${why%%; target:*}"
    workers_started=$((workers_started + 1))
    start_app "zero-$scenario-workers-$workers_started" workers "$jar"
    worker=$process_id
  elif ((was == 1)) && [[ $active == false ]] && ((SECONDS - last_active > ZERO_COOLDOWN)); then
    ask_why
    say "1 -> 0  ${why%%; target:*}"
    stop_processes TERM "$worker"
    worker=''
  fi
}

# keda_until SECONDS WHAT CONDITION...: plays KEDA until the condition holds; fails with WHAT after so many seconds.
keda_until() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  while true; do
    keda || return
    ! "$@" || return 0
    ((SECONDS < deadline)) || { ask_why; fail "$scenario: waited in vain for $what: $why"; return; }
    sleep "$ZERO_POLLING_INTERVAL"
  done
}

# The conditions.
worker_lives() { [[ -n $worker ]]; }
at_zero() { [[ -z $worker && $active == false ]]; }
minute_begins() { ((EPOCHSECONDS % 60 < 15)); }
has_come() { ((EPOCHSECONDS >= $1)); }
reason_says() { ask_why && [[ $why == *"$1"* ]]; }
jobs_in() { [[ $(dashboard_jobs "$1" 1 | jq .total) == "$2" ]]; }
succeeded_at_zero() { at_zero && jobs_in SUCCEEDED "$1"; }

# The one job's states, in short.
job_states() {
  local found
  mapfile -t found < <(dashboard_jobs SUCCEEDED 1 | jq --raw-output '.items[0].jobHistory[].state')
  states "${found[@]}"
}
# Their first letters: the column is narrow.
states() { printf '%.1s' "$@"; }

job_starts() { cat "$work/logs/zero-$scenario-workers"-*.log | grep --count 'job [-0-9a-f]* starts' || true; }
job_ends() { cat "$work/logs/zero-$scenario-workers"-*.log | grep --count 'job [-0-9a-f]* ends' || true; }

# check_active SINCE: that the trigger was active in every answer from then until the job had succeeded.
check_active() {
  local until
  until=$(dashboard_jobs SUCCEEDED 1 | jq "$JQ_INSTANT .items[0].jobHistory[-1].createdAt | instant")
  expect "answers below 1 or inactive until its end" 0 \
    "$(awk -v since="$1" -v until="$until" 'since < $1 && $1 < until && ($2 < 1 || $3 != "true")' \
      "$work/zero/$scenario.answers" | wc -l)"
  expect "more than twenty answers until then" yes \
    "$(awk -v since="$1" -v until="$until" 'since < $1 && $1 < until {n++} END {print (n > 20) ? "yes" : "no"}' \
      "$work/zero/$scenario.answers")"
}

# check_runs NUMBER: that so many runs succeeded at the first attempt, and none ran without a trace.
check_runs() {
  expect "runs that succeeded at the first attempt" "$1" "$(dashboard_jobs SUCCEEDED 100 | jq '[.items[]
    | select([.jobHistory[] | select(.state == "PROCESSING")] | length == 1)] | length')"
  expect "runs in the workers' logs" "$1" "$(job_starts)"
  check_rest
}

# What is left at the end: a server that was stopped, or found dead, is no longer in JobRunr's table.
check_rest() {
  expect "servers at the end" 0 "$(curl --silent --show-error --fail --max-time 30 "$dashboard_url/api/servers" | jq length)"
  expect "demand at the end" "0 false" "$value $active"
}

# The tables of scenarios that run at the same time must not mix: they are printed when all of them are done.
expect() { check "$@" >&4; }
says() { if [[ $1 == *"$2"* ]]; then echo yes; else echo no; fi; }
say() { printf '%s  %-20s  %s\n' "$(clock now)" "$scenario" "$1"; }
clock() { date --utc --date "@${1/#now/$EPOCHSECONDS}" +%T; }
