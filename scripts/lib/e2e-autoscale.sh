# shellcheck shell=bash disable=SC2034,SC2154
# Plays KEDA and the HPA with processes for pods: asks the scaler how many there should be, starts and stops them. A
# library, to be sourced. Needs e2e-processes.sh and e2e-compare.sh.

# KEDA's and the HPA's times in seconds. Those of KEDA and the stabilization are shorter than in a cluster (30, 300 and 300 s), so
# that one need not wait for them; the HPA's interval is Kubernetes' own.
polling_interval=2 cooldown_period=15 down_stabilization=20
# How many pods the HPA adds at a time: so many, or that part of those that there are, whichever is more.
up_pods=4 up_percent=100
readonly HPA_INTERVAL=15

# The process ids of the worker "pods", the oldest first.
workers=()
workers_started=0

# scale_to NUMBER JAR. Writes to $work/pods.tsv when each pod began and ended, `began` or `ended`, its log and the instant.
scale_to() {
  while ((${#workers[@]} < $1)); do
    workers_started=$((workers_started + 1))
    printf 'began\t%s\t%s\n' "guide-workers-$workers_started" "$EPOCHREALTIME" >>"$work/pods.tsv"
    start_app "guide-workers-$workers_started" workers "$2"
    workers+=("$process_id")
  done
  while ((${#workers[@]} > $1)); do
    # As Kubernetes prefers: the youngest go first. Each finishes its running jobs, as it does in a pod, and nobody waits for it.
    stop_pod "${workers[-1]}" "${processes[${workers[-1]}]}"
    unset 'workers[-1]'
  done
}

# stop_pod ID NAME: asks the pod to stop, and notes when it is gone.
stop_pod() {
  kill -TERM "$1" 2>/dev/null || true
  unset "processes[$1]"
  (
    trap - EXIT
    while kill -0 "$1" 2>/dev/null; do sleep 0.1; done
    printf 'ended\t%s\t%s\n' "$2" "$EPOCHREALTIME" >>"$work/pods.tsv"
  ) &
  disown "$!"
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

# hpa WANTED: sets desired. The HPA's rule with the behavior of our manifests: up at once, by no more than $up_pods or $up_percent;
# down to no less than what was wanted at any time of the stabilization window.
hpa() {
  local now=$SECONDS time ups=$((${#workers[@]} + up_pods)) by_percent=$((${#workers[@]} * (100 + up_percent) / 100))
  desired=$1
  recommendations[now]=$1
  for time in "${!recommendations[@]}"; do
    if ((now - time >= down_stabilization)); then
      unset "recommendations[$time]"
    elif ((${#workers[@]} > desired && recommendations[time] > desired)); then
      desired=$((recommendations[time] < ${#workers[@]} ? recommendations[time] : ${#workers[@]}))
    fi
  done
  ((by_percent <= ups)) || ups=$by_percent
  ((desired <= ups)) || desired=$ups
  ((desired <= maximum)) || desired=$maximum
  # The HPA itself never goes to zero.
  ((desired >= 1)) || desired=1
}

# autoscale MANIFEST JAR SECONDS: runs until the workers came and are all gone again, and prints each change. Sets peak.
# Writes the changes to $work/replicas.tsv. $on_scale is called after each change, and $on_second every second with the seconds since the start; it succeeds while there is
# more to come.
autoscale() {
  local started=$SECONDS last_active=$SECONDS desired wanted maximum active why target
  # KEDA and the HPA have a rhythm each, whatever the workload does.
  local next_poll=$((SECONDS + RANDOM % polling_interval)) next_sync=$((SECONDS + RANDOM % HPA_INTERVAL)) more
  local -a recommendations=()
  peak=0
  while true; do
    ((SECONDS - started < $3)) || { fail "the workers did not come and go within $3 s; there are ${#workers[@]}"; return; }
    more=''
    ! "$on_second" $((SECONDS - started)) || more=yes
    target=${#workers[@]}
    if ((SECONDS >= next_poll)); then
      next_poll=$((next_poll + polling_interval))
      ask_scaler "$1"
      [[ $active == false ]] || last_active=$SECONDS
      # KEDA's part: between zero and one.
      if ((target == 0)) && [[ $active == true ]]; then
        target=1
      elif [[ $active == false ]] && ((SECONDS - last_active > cooldown_period)); then
        ((target > 0 || peak == 0)) || [[ -n $more ]] || return 0
        target=0
      fi
    fi
    if ((SECONDS >= next_sync)); then
      next_sync=$((next_sync + HPA_INTERVAL))
      if ((target > 0 && ${#workers[@]} > 0)); then
        ask_scaler "$1"
        hpa "$wanted"
        target=$desired
      fi
    fi
    if ((target != ${#workers[@]})); then
      printf '%4d s  %2d -> %-2d  %s\n' $((SECONDS - started)) "${#workers[@]}" "$target" "$why"
      printf '%s\t%s\n' "$EPOCHREALTIME" "$target" >>"$work/replicas.tsv"
      scale_to "$target" "$2"
      ((peak >= target)) || peak=$target
      "$on_scale" "$target"
    fi
    sleep 0.5
  done
}
