# shellcheck shell=bash disable=SC2034,SC2154
# Zero is safe, shown with the real JobRunr: nothing that needs a server is left lying because there are no pods. A
# library, to be sourced. Needs e2e-processes.sh, e2e-compare.sh and e2e-autoscale.sh.

# How far the ScaledObject looks ahead, in seconds: a JVM has to start, on a machine that does other things too, and a
# server has to look, every 5 s.
readonly LOOK_AHEAD=30

# write_demand_manifest FILE
write_demand_manifest() {
  cat >"$1" <<YAML
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: zero
spec:
  scaleTargetRef:
    name: workers
  minReplicaCount: 0
  maxReplicaCount: 2
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown:
          stabilizationWindowSeconds: 300
  triggers:
    - type: external-push
      metricType: AverageValue
      metadata:
        scalerAddress: jobrunr-scaler.keda:9090
        metric: demand
        targetValue: auto
        scheduledIn: PT${LOOK_AHEAD}S
YAML
}

# prepare_zero NAME MAJOR: a database, an application that runs no jobs, a scaler. Sets manifest and jar.
prepare_zero() {
  manifest=$work/$1.yaml
  jar=${jars[$2]}
  write_demand_manifest "$manifest"
  new_database postgresql "$1"
  start_web "$1-web" "$jar"
  start_scaler "$1-scaler" "$scaler_url"
  worker_name=$1-workers
  on_scale=:
}

# Prints whether the trigger is active and why, on one line.
reasons() {
  "$scaler" explain -f "$manifest" --replicas 0 --output json |
    jq --raw-output '.scaledObjects[0] | "\(.active) \(.triggers[0].value) \(.triggers[0].reasons | join("; "))"'
}

# Succeeds when the reasons match the pattern. The database itself is asked: a running scaler tells KEDA no reasons.
reasons_match() {
  JOBRUNR_SCALER_URL=$scaler_url JOBRUNR_SCALER_USERNAME=$JDBC_USERNAME JOBRUNR_SCALER_PASSWORD=$JDBC_PASSWORD \
    reasons >"$work/$1.reasons" && grep --quiet --extended-regexp "$2" "$work/$1.reasons"
}

# Prints the instants for which the runs of recurring jobs that succeeded were scheduled, sorted.
ticks() {
  dashboard_jobs SUCCEEDED 1000 | jq --raw-output '
    [.items[] | select(.recurringJobId != null) | [.jobHistory[] | select(.state == "SCHEDULED")][0].scheduledAt
     | sub("\\.[0-9]+"; "")] | sort | .[]'
}

n_ticks_are() {
  (($(ticks | wc -l) >= $1))
}

# Lets workers come and go until so many runs of recurring jobs have succeeded. Sets cycles, how often they went to zero.
autoscale_until_ticks() {
  cycles=0
  until n_ticks_are "$1"; do
    autoscale "$manifest" "$jar" 150
    cycles=$((cycles + 1))
    ((cycles < 8)) || fail "there were not $1 runs after $cycles times of workers: $(ticks | tr '\n' ' ')"
  done
}

# JobRunr 8 writes the next run of a recurring job ahead of time; who defines one while no server lives waits for that.
zero_recurring_8() {
  local wrong=0 cycles active=no
  prepare_zero zero_recurring_8 8
  check "nothing to do: active" no "$(reasons_match zero_recurring_8 '^true' && echo yes || echo no)"
  call_web '/schedule-recurring-job?id=tick&cron=0+*+*+*+*+*&duration=PT1S'
  if reasons_match zero_recurring_8 '^true 1 .*.tick. has no next run'; then active=yes; fi
  check "recurring job without a run: active" yes "$active"
  autoscale_until_ticks 2
  check "runs that woke workers from zero, at least" 2 "$(ticks | head -n 2 | wc -l)"
  check "times at zero, at least" 2 "$((cycles > 2 ? 2 : cycles))"
  return "$wrong"
}

# JobRunr 7 writes a run only while a server looks around its instant: who comes late has missed it.
zero_cron_7() {
  local wrong=0 cycles first last n
  prepare_zero zero_cron_7 7
  call_web '/schedule-recurring-job?id=tick&cron=*+*+*+*+*&duration=PT1S'
  autoscale_until_ticks 3
  first=$(date --date "$(ticks | head -n 1)" +%s)
  last=$(date --date "$(ticks | tail -n 1)" +%s)
  n=$(ticks | sort --unique | wc -l)
  check "ticks between the first and the last" "$(((last - first) / 60 + 1))" "$n"
  check "runs of them" "$n" "$(ticks | wc -l)"
  check "times at zero, at least" 2 "$((cycles > 2 ? 2 : cycles))"
  return "$wrong"
}

# A job whose server was killed hangs in PROCESSING for ever where no server lives.
zero_orphan() {
  local wrong=0 victim kept=no
  prepare_zero zero_orphan 8
  call_web '/enqueue-example-jobs?count=1&duration=PT15S'
  start_app zero_orphan-victim workers "$jar"
  victim=$process_id
  wait_for 90 "the job to run" dashboard_says '."occupied-workers" == 1'
  stop_processes KILL "$victim"
  if reasons_match zero_orphan '^true 1 .*1 processing'; then kept=yes; fi
  check "right after SIGKILL: active" yes "$kept"
  wait_for 60 "the job to be an orphan" reasons_match zero_orphan '^true 1 1 job: 1 orphan; orphans: 1 job without'
  autoscale "$manifest" "$jar" 240
  check "attempts until it succeeded" 2 "$(dashboard_jobs SUCCEEDED 10 |
    jq '[.items[].jobHistory[] | select(.state == "PROCESSING")] | length')"
  check "rescued and done: active" no "$(reasons_match zero_orphan '^true' && echo yes || echo no)"
  return "$wrong"
}

# A job that takes longer than every cooldown and window here.
zero_long_job() {
  local wrong=0
  prepare_zero zero_long_job 8
  call_web '/enqueue-example-jobs?count=1&duration=PT2M'
  autoscale "$manifest" "$jar" 300
  check "attempts until it succeeded" 1 "$(dashboard_jobs SUCCEEDED 10 |
    jq '[.items[].jobHistory[] | select(.state == "PROCESSING")] | length')"
  return "$wrong"
}

# zero_scenarios NAME...: runs scenarios side by side, each in a process of its own, and prints what they say. What they
# have started ends with them.
zero_scenarios() {
  local name failed=0
  local -A ids=()
  for name in "$@"; do
    (trap - EXIT && "$name") >"$work/$name.out" 2>&1 &
    ids[$name]=$!
  done
  for name in "$@"; do
    wait "${ids[$name]}" || failed=$((failed + 1))
    printf '\n-- %s\n' "$name"
    cat "$work/$name.out"
  done
  ((failed == 0)) || fail "$failed of the scenarios at zero did not go as they should"
}
