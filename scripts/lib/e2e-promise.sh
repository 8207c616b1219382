# shellcheck shell=bash disable=SC2034,SC2154
# A promise with the real JobRunr: many short jobs and some long ones, a `maxLatency`, real workers under the played KEDA. No job waits
# longer, and no more pods come than the simulation says plus one. A library, to be sourced. Needs e2e-processes.sh, e2e-compare.sh,
# e2e-autoscale.sh and e2e-simulate.sh.

readonly PROMISED=120

# First some jobs of each length, so that the scaler learns how long they take; then all.
bring_promised_work() {
  local second request
  while read -r second request; do
    if (($1 >= second)) && [[ -z ${brought[$second]:-} ]]; then
      brought[$second]=yes
      call_web "$request"
    fi
  done <<'WORK'
2 /enqueue-example-jobs?count=20&duration=PT0.05S
4 /enqueue-example-jobs?count=2&duration=PT5S
60 /enqueue-example-jobs?count=1000&duration=PT0.05S
61 /enqueue-example-jobs?count=200&duration=PT5S
62 /enqueue-example-jobs?count=1000&duration=PT0.05S
WORK
  (($1 < 65))
}

promise() {
  local jar=${jars[8]} manifest=$work/promise.yaml pod_start longest simulated
  local -A brought=()
  polling_interval=5 cooldown_period=28 down_stabilization=60 up_pods=6 up_percent=100
  write_promise_manifest >"$manifest"
  play_course promise "$manifest" "$jar" bring_promised_work 600

  longest=$(dashboard_jobs SUCCEEDED 3000 | jq "$JQ_INSTANT"'[.items[].jobHistory
    | (map(select(.state == "PROCESSING"))[0].createdAt | instant) - (.[0].createdAt | instant)] | max')
  simulated=$(with_storage "$scaler" simulate --filename "$manifest" --workload history --since PT1H \
    --workers-per-pod "$SIMULATED_WORKERS" --pod-start "PT${pod_start}S" --poll-interval "PT${SIMULATED_POLL_INTERVAL}S" \
    --await-on-stop "PT${SIMULATED_AWAIT}S" --output json 2>>"$work/logs/simulate.log" | jq '.results[0].max_pods')
  echo "Pods took $pod_start s to start. The longest wait was $longest s, promised were $PROMISED. Most pods: $peak, simulated $simulated."
  jq --null-input --exit-status "$longest <= $PROMISED" >/dev/null || fail "a job waited for $longest s, promised were $PROMISED"
  ((peak <= simulated + 1)) || fail "$peak pods came, the simulation says $simulated"
}

write_promise_manifest() {
  cat <<YAML
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: promise
spec:
  scaleTargetRef:
    name: jobrunr-workers
  minReplicaCount: 0
  maxReplicaCount: 6
  pollingInterval: $polling_interval
  cooldownPeriod: $cooldown_period
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleUp:
          policies:
            - type: Pods
              value: $up_pods
              periodSeconds: 15
        scaleDown:
          stabilizationWindowSeconds: $down_stabilization
  triggers:
    - type: external
      metricType: AverageValue
      metadata:
        scalerAddress: jobrunr-scaler.keda:9090
        metric: demand
        targetValue: auto
        workersPerPod: "$SIMULATED_WORKERS"
        maxLatency: PT${PROMISED}S
        podStart: PT20S
        scheduledIn: PT30S
YAML
}
