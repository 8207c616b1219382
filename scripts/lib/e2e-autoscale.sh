# shellcheck shell=bash disable=SC2034,SC2154
# Plays KEDA and the HPA with processes for pods: asks the scaler how many there should be, starts and stops them. A
# library, to be sourced. Needs e2e-processes.sh and e2e-compare.sh.

# KEDA's and the HPA's times, shorter than in a cluster (30, 300, 15 and 300 s), so that one need not wait for them.
readonly POLLING_INTERVAL=2 COOLDOWN_PERIOD=15 HPA_INTERVAL=5 DOWN_STABILIZATION=20

# The process ids of the worker "pods", the oldest first.
workers=()
workers_started=0

# scale_to NUMBER JAR
scale_to() {
  while ((${#workers[@]} < $1)); do
    workers_started=$((workers_started + 1))
    start_app "guide-workers-$workers_started" workers "$2"
    workers+=("$process_id")
  done
  if ((${#workers[@]} > $1)); then
    # As Kubernetes prefers: the youngest go first. Each finishes its running jobs, as it does in a pod.
    stop_processes TERM "${workers[@]:$1}"
    workers=("${workers[@]:0:$1}")
  fi
}

# Asks how many pods there should be. Sets wanted, active, and why: the answer of each trigger in short.
ask_scaler() {
  local answer
  answer=$("$scaler" explain -f "$1" --scaler "$scaler_address" --replicas "${#workers[@]}" --output json || true)
  if ! read -r wanted maximum active why < <(jq --raw-output '
    .scaledObjects[0]
    | "\(.replicas.wanted) \(.replicas.max) \(.active) "
      + ([.triggers[] | "\(.metric) \(.value * 100 | round / 100)"] | join(", "))' <<<"$answer"); then
    fail "explain did not answer: $answer"
  fi
}

# hpa WANTED: sets desired. The HPA's rule with the behavior of our manifest: up at once, by no more than four pods or as
# many as there are; down to no less than what was wanted at any time of the stabilization window.
hpa() {
  local now=$SECONDS time ups=$((${#workers[@]} + 4)) doubled=$((2 * ${#workers[@]}))
  desired=$1
  recommendations[now]=$1
  for time in "${!recommendations[@]}"; do
    if ((now - time > DOWN_STABILIZATION)); then
      unset "recommendations[$time]"
    elif ((${#workers[@]} > desired && recommendations[time] > desired)); then
      desired=$((recommendations[time] < ${#workers[@]} ? recommendations[time] : ${#workers[@]}))
    fi
  done
  ((doubled <= ups)) || ups=$doubled
  ((desired <= ups)) || desired=$ups
  ((desired <= maximum)) || desired=$maximum
  # The HPA itself never goes to zero.
  ((desired >= 1)) || desired=1
}

# autoscale MANIFEST JAR SECONDS: runs until the workers came and are all gone again, and prints each change. Sets peak.
# $on_scale is called after each change.
autoscale() {
  local started=$SECONDS last_active=$SECONDS last_hpa=$SECONDS desired wanted maximum active why target
  local -a recommendations=()
  peak=0
  while true; do
    ((SECONDS - started < $3)) || { fail "the workers did not come and go within $3 s; there are ${#workers[@]}"; return; }
    ask_scaler "$1"
    target=${#workers[@]}
    [[ $active == false ]] || last_active=$SECONDS
    if ((${#workers[@]} == 0)); then
      # KEDA's part: from zero to one, and the HPA looks again an interval later.
      if [[ $active == true ]]; then
        target=1
        last_hpa=$SECONDS
      elif ((peak > 0)); then
        return 0
      fi
    elif [[ $active == false ]] && ((SECONDS - last_active > COOLDOWN_PERIOD)); then
      target=0
    elif ((SECONDS - last_hpa >= HPA_INTERVAL)); then
      hpa "$wanted"
      target=$desired
      last_hpa=$SECONDS
    fi
    if ((target != ${#workers[@]})); then
      printf '%4d s  %2d -> %-2d  %s\n' $((SECONDS - started)) "${#workers[@]}" "$target" "$why"
      scale_to "$target" "$2"
      ((peak >= target)) || peak=$target
      "$on_scale" "$target"
    fi
    sleep "$POLLING_INTERVAL"
  done
}
