#!/usr/bin/env bash
# The scaler against real JobRunr, in six parts.
#
# 1. The numbers. JobRunr 8 on PostgreSQL, MariaDB, MySQL and SQLite, 7 and 6 on PostgreSQL, and all three on FerretDB, with
#    MongoDB's protocol and JobRunr's provider for Amazon DocumentDB, 8 also with that for MongoDB, are brought into several
#    situations, and what the scaler says of each is compared with what JobRunr's own dashboard says.
# 2. The walk-through of JobRunr's guide to autoscaling: jobs are scheduled, workers come before they are due, all of
#    them run once, the workers go. Real workers, and a loop in the place of KEDA and the HPA. On PostgreSQL and on FerretDB.
# 3. Zero. With the metric demand, zero workers lose nothing: recurring jobs wake them (JobRunr 8 and 7), the job of a
#    worker that was killed is rescued, and a long job is not cut. On PostgreSQL, the first and the third on FerretDB too.
# 4. The simulation. What `simulate` makes of the finished jobs of some bursts is compared with what really happened.
# 5. The promise. With `maxLatency`, no job waits longer, and no more pods come than the simulation says plus one.
# 6. Busy pods. `protect` finds the pods of real workers by their names, and a played ReplicaSet that follows deletion costs cuts
#    no job.
#
# Needs a JDK of Java 17 or later, Maven, curl, jq, PostgreSQL, MariaDB, MySQL and FerretDB; as root on Debian it installs what is missing.
# With arguments, it does only those parts: `numbers`, `walk-through`, `zero`, `simulation`, `promise`, `protect`. `--only="documentdb *"`
# does only those combinations of the numbers, and `--only=documentdb` only that database of the walk-through and of zero.
# JOBRUNR_SCALER_BIN names a scaler that is built already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/packages.sh
source scripts/lib/packages.sh
# shellcheck source=scripts/lib/databases.sh
source scripts/lib/databases.sh
# shellcheck source=scripts/lib/e2e-processes.sh
source scripts/lib/e2e-processes.sh
# shellcheck source=scripts/lib/e2e-compare.sh
source scripts/lib/e2e-compare.sh
# shellcheck source=scripts/lib/e2e-autoscale.sh
source scripts/lib/e2e-autoscale.sh
# shellcheck source=scripts/lib/e2e-simulate.sh
source scripts/lib/e2e-simulate.sh
# shellcheck source=scripts/lib/e2e-promise.sh
source scripts/lib/e2e-promise.sh
# shellcheck source=scripts/lib/e2e-zero.sh
source scripts/lib/e2e-zero.sh
# shellcheck source=scripts/lib/e2e-protect.sh
source scripts/lib/e2e-protect.sh

readonly APP=examples/jobrunr-app
differences=0

# Whatever happens, nothing keeps running. On a failure the ends of the logs tell why.
clean_up() {
  local status=$? log
  trap - EXIT
  # Shells of their own, whose processes end with them.
  ((${#scenarios[@]} == 0)) || kill -TERM "${!scenarios[@]}" 2>/dev/null || true
  if ((status != 0)); then
    for log in "$work"/logs/*.log; do
      [[ -s $log ]] || continue
      printf '\n== the end of %s\n' "${log##*/}"
      tail -n 15 "$log" | cut -c 1-300
    done >&2
  fi
  stop_processes KILL "${!processes[@]}"
  stop_databases
  rm -rf "$work"
  ((status == 0)) || printf '\nFailed after %d min %02d s\n' $((SECONDS / 60)) $((SECONDS % 60)) >&2
  exit "$status"
}

work=$(mktemp -d)
mkdir "$work/logs"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step() {
  printf '\n== %s (%d min %02d s)\n' "$1" $((SECONDS / 60)) $((SECONDS % 60))
}

require_tools() {
  local missing=()
  # A runtime alone cannot compile: javac tells a JDK.
  command -v javac >/dev/null || missing+=(default-jdk-headless)
  command -v mvn >/dev/null || missing+=(maven)
  command -v curl >/dev/null || missing+=(curl)
  command -v jq >/dev/null || missing+=(jq)
  command -v python3 >/dev/null || missing+=(python3)
  ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
  local java
  java=$(javac -version 2>&1 | grep --only-matching --max-count 1 '[0-9]\+' | head -n 1)
  ((java >= 17)) || fail "the example application needs a JDK of Java 17 or later; javac here is of Java $java"
}

# Sets jars and versions, by major version.
declare -A jars versions
build_app() {
  local major found majors=(8)
  if does numbers || does zero; then majors+=(7 6); fi
  for major in "${majors[@]}"; do
    rm -f "$APP/target/jobrunr-$major"/*.jar
    # Maven's own words only when it fails.
    mvn -q -B -f "$APP" -P "jobrunr-$major" package >"$work/logs/maven-$major.log" 2>&1 ||
      fail "Maven could not build $APP for JobRunr $major"
    found=("$APP/target/jobrunr-$major/jobrunr-app-$major".*.jar)
    jars[$major]=${found[0]}
    versions[$major]=$(basename "${found[0]}" .jar)
    versions[$major]=${versions[$major]#jobrunr-app-}
    echo "${found[0]}"
  done
}

build_scaler() {
  scaler=${JOBRUNR_SCALER_BIN:-}
  # The scaler takes every variable with its prefix for a setting, and would point at this one as an unknown one.
  unset JOBRUNR_SCALER_BIN
  if [[ -z $scaler ]]; then
    require_rust
    cargo build --locked --quiet --features protect
    scaler=${CARGO_TARGET_DIR:-target}/debug/jobrunr-scaler
  fi
  "$scaler" --version
}

# new_database BACKEND NAME: sets JDBC_URL, JDBC_USERNAME, JDBC_PASSWORD, or MONGODB_ADDRESS, MONGODB_DATABASE and MONGODB_PROVIDER, for
# the application, and scaler_url and scaler_database. `documentdb` and `mongodb` are FerretDB with one and the other of JobRunr's
# providers.
new_database() {
  export JDBC_URL JDBC_USERNAME=jobrunr JDBC_PASSWORD=jobrunr
  unset MONGODB_ADDRESS MONGODB_DATABASE MONGODB_PROVIDER
  scaler_database=
  case $1 in
  postgresql)
    create_postgres_database "$2"
    JDBC_URL=jdbc:postgresql://127.0.0.1:$PG_PORT/$2
    scaler_url=$JDBC_URL
    ;;
  mariadb)
    create_mariadb_database "$2"
    JDBC_URL=jdbc:mariadb://127.0.0.1:$MARIADB_PORT/$2
    scaler_url=$JDBC_URL
    ;;
  mysql)
    # MariaDB's client cannot log in to MySQL 8, so that the application creates the database.
    scaler_url="jdbc:mysql://127.0.0.1:$MYSQL_PORT/$2?allowPublicKeyRetrieval=true"
    JDBC_URL="$scaler_url&createDatabaseIfNotExist=true"
    ;;
  documentdb | mongodb)
    JDBC_USERNAME='' JDBC_PASSWORD='' JDBC_URL="jdbc:sqlite:$work/unused.db"
    export MONGODB_ADDRESS="$MONGODB_URL?uuidRepresentation=standard" MONGODB_DATABASE=$2 MONGODB_PROVIDER=$1
    scaler_url=$MONGODB_URL
    scaler_database=$2
    ;;
  sqlite)
    JDBC_USERNAME='' JDBC_PASSWORD=''
    scaler_url=jdbc:sqlite:$work/$2.db
    # Several processes write one file: they take its lock at the start of a transaction, and wait for it.
    JDBC_URL="$scaler_url?journal_mode=WAL&busy_timeout=10000&transaction_mode=IMMEDIATE"
    ;;
  esac
}

# compare_numbers BACKEND MAJOR
compare_numbers() {
  local backend=$1 name=$1-$2 version=${versions[$2]} jar=${jars[$2]} scaler_id web_id worker_ids=() n
  new_database "$backend" "numbers$2"
  if [[ $backend == mongodb ]]; then
    # FerretDB does not know the partial indexes that this provider makes. With the other's collections and indexes it finds nothing
    # left to make.
    new_database "$backend" numbers_own
    MONGODB_PROVIDER=documentdb start_web "$name-schema" "$jar"
    stop_processes KILL "$process_id"
  fi
  start_web "$name-web" "$jar"
  web_id=$process_id
  start_scaler "$name-scaler"
  scaler_id=$process_id
  compare "$backend" "$version" "nothing"

  # Jobs but nobody to run them: some wait in the queue, some should have left for it, some have hours.
  call_web '/enqueue-example-jobs?count=16&duration=PT10M'
  call_web '/schedule-example-jobs?count=4&runIn=PT0S&duration=PT10M'
  call_web '/schedule-example-jobs?count=7&runIn=PT1H30M&duration=PT10M'
  compare "$backend" "$version" "no workers"

  # More jobs than two servers of four workers can take. Those that were overdue are in the queue now, where JobRunr 8
  # leaves them the time for which they were scheduled: they must not count as scheduled. Others will be due soon.
  for n in 1 2; do
    start_app "$name-workers-$n" workers "$jar"
    worker_ids+=("$process_id")
  done
  wait_for 120 "8 running and 12 waiting jobs on $backend" dashboard_says \
    '."occupied-workers" == 8 and ."enqueued-count" == 12 and ."total-workers" == 8'
  call_web '/schedule-example-jobs?count=3&runIn=PT55S&duration=PT10M'
  compare "$backend" "$version" "busy"

  # Without a word, as when the machine fails. Their rows stay, and their jobs stay in PROCESSING.
  stop_processes KILL "${worker_ids[@]}"
  if [[ $name == postgresql-8 || $name == documentdb-8 ]]; then
    wait_for 60 "the workers to be dead" dashboard_says '."total-workers" == 0 and ."occupied-workers" == 0'
    compare "$backend" "$version" "workers died"
  fi
  stop_processes KILL "$web_id" "$scaler_id"
  # When a later part fails, these would only be in the way.
  rm "$work/logs/$name"-*.log
}

# Notes what must be true while the workers come.
note_scaling() {
  if (($1 >= 5)) && [[ -z ${five_in_time:-} ]]; then
    if dashboard_says '."scheduled-count PT2H" == 40'; then five_in_time=yes; else five_in_time=no; fi
  fi
}

# walk_through BACKEND
walk_through() {
  local jar=${jars[8]} manifest=$work/scaledobject.yaml succeeded runs five_in_time='' wrong=0
  polling_interval=2 cooldown_period=15 down_stabilization=20 up_pods=4 up_percent=100
  new_database "$1" walk
  rm -f "$work"/logs/guide-*.log
  start_web guide-web "$jar"
  start_scaler guide-scaler
  # The manifest that we ship. Only its look-ahead is shorter, as the jobs are due sooner than the guide's.
  sed 's/scheduledIn: PT2M/scheduledIn: PT45S/' k8s/scaledobject-guide.yaml >"$manifest"
  grep --quiet 'scheduledIn: PT45S' "$manifest" || fail "k8s/scaledobject-guide.yaml has no scheduledIn: PT2M any more"

  call_web '/schedule-example-jobs?count=40&runIn=PT1M&duration=PT12S'
  echo "40 jobs of 12 s are due in 60 s; 8 for each pod, which has 4 workers"
  on_scale=note_scaling
  on_second=false
  autoscale "$manifest" "$jar" 240

  # The history of each job, and beside it what the jobs themselves wrote: nothing ran without a trace, and nothing ran twice. On FerretDB
  # it can: two servers that fetch at the same instant may both get a job there, 2 of 40 in one run. That is between JobRunr and FerretDB.
  succeeded=$(dashboard_jobs SUCCEEDED 1000 | jq '[.items[]
    | select([.jobHistory[] | select(.state == "PROCESSING")] | length == 1)] | length')
  runs=$(cat "$work"/logs/guide-workers-*.log | grep --only-matching 'job [-0-9a-f]* starts' || true)
  check "five pods started before a job was due" yes "${five_in_time:-no}"
  check "jobs that succeeded at the first attempt" 40 "$succeeded"
  check "jobs that started, in the workers' logs" 40 "$(sort --unique <<<"$runs" | wc --lines)"
  [[ $1 == documentdb ]] || check "starts of jobs in the workers' logs" 40 "$(wc --lines <<<"$runs")"
  check "pods at the end" 0 "${#workers[@]}"
  ((wrong == 0)) || fail "the walk-through did not go as it should"
}

# check WHAT EXPECTED SEEN: prints a line and counts in wrong.
check() {
  local ok=ok
  [[ $2 == "$3" ]] || { ok=NO; wrong=$((wrong + 1)); }
  printf '%-52s  %9s  %9s  %s\n' "$1" "$2" "$3" "$ok"
}

parts=() only='*'
for argument; do
  case $argument in
  numbers | walk-through | zero | simulation | promise | protect) parts+=("$argument") ;;
  --only=*) only=${argument#*=} ;;
  *) fail "usage: $0 [numbers|walk-through|zero|simulation|promise|protect]... [--only=PATTERN]" ;;
  esac
done

# does PART: whether that part is to be done.
does() {
  ((${#parts[@]} == 0)) || [[ " ${parts[*]} " == *" $1 "* ]]
}

step "Tools"
require_tools
start_postgres "$work"
start_mariadb "$work"
start_mysql "$work"
start_ferretdb "$work"

step "Build the example application"
build_app

step "Build the scaler"
build_scaler

if does numbers; then
  step "The scaler's numbers and the dashboard's"
  printf '%-10s  %-7s  %-15s  %-20s  %9s  %9s\n' database JobRunr situation metric dashboard scaler
  for combination in "postgresql 8" "mariadb 8" "mysql 8" "sqlite 8" "documentdb 8" "mongodb 8" "postgresql 7" "postgresql 6" \
    "documentdb 7" "documentdb 6"; do
    # shellcheck disable=SC2053 # a pattern
    [[ $combination == $only ]] || continue
    # shellcheck disable=SC2086 # two words
    compare_numbers $combination
  done
  ((differences == 0)) || fail "the scaler and the dashboard differ in $differences numbers"
fi
if does walk-through; then
  for backend in postgresql documentdb; do
    # shellcheck disable=SC2053 # a pattern
    [[ $backend == $only ]] || continue
    step "The guide's walk-through on $backend"
    walk_through "$backend"
  done
fi
if does zero; then
  step "Zero workers"
  # shellcheck disable=SC2053 # a pattern
  [[ postgresql != $only ]] || zero postgresql recurring cron killed long
  # shellcheck disable=SC2053 # a pattern
  [[ documentdb != $only ]] || zero documentdb recurring killed
fi
if does simulation; then
  step "The simulation and a real course"
  simulation
fi
if does promise; then
  step "A promise"
  promise
fi
if does protect; then
  step "Busy pods"
  protect_pods
fi

step "The scaler agrees with JobRunr"
