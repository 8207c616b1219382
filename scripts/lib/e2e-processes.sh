# shellcheck shell=bash disable=SC2034,SC2154
# The processes of scripts/e2e.sh: the example application in its two roles and the scaler. A library, to be sourced.
# Needs $work, a folder; writes what a process prints to $work/logs/NAME.log.

# What we started and did not stop yet: process id to name.
declare -gA processes=()

# start_process NAME COMMAND...: runs it in the background and sets process_id.
start_process() {
  local name=$1
  shift
  # The process ends with this script, even when that is killed.
  setpriv --pdeathsig KILL -- "$@" >"$work/logs/$name.log" 2>&1 </dev/null &
  process_id=$!
  # Or bash would report each one that we kill.
  disown "$process_id"
  processes[$process_id]=$name
}

# stop_processes SIGNAL ID...: sends the signal and waits until all of them are gone.
stop_processes() {
  local stop_signal=$1 id deadline=$((SECONDS + 60))
  shift
  (($#)) || return 0
  kill -"$stop_signal" "$@" 2>/dev/null || true
  for id in "$@"; do
    while kill -0 "$id" 2>/dev/null; do
      ((SECONDS < deadline)) || kill -KILL "$id" 2>/dev/null || true
      sleep 0.05
    done
    unset "processes[$id]"
  done
}

# wait_for SECONDS WHAT COMMAND...: polls until the command succeeds; fails with WHAT after so many seconds.
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < deadline)) || { fail "waited in vain for $what"; return; }
    sleep 0.2
  done
}

# Succeeds when the pattern is in the log, and ends the run when the process that writes it is gone.
logged() {
  local id=$1 pattern=$2
  kill -0 "$id" 2>/dev/null || { echo "${processes[$id]} ended by itself" >&2; exit 1; }
  grep --quiet --no-messages --perl-regexp "$pattern" "$work/logs/${processes[$id]}.log"
}

# Prints what the pattern matches, first occurrence.
from_log() {
  grep --only-matching --perl-regexp --max-count 1 "$2" "$work/logs/${processes[$1]}.log"
}

# start_app NAME ROLE JAR. The database is in JDBC_URL, JDBC_USERNAME and JDBC_PASSWORD.
start_app() {
  # Small and quick to start rather than quick at work: the jobs sleep.
  SPRING_PROFILES_ACTIVE=$2 HTTP_ADDRESS=127.0.0.1 HTTP_PORT=0 DASHBOARD_PORT=0 \
    start_process "$1" java -Xmx192m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -jar "$3"
}

# start_web NAME JAR: sets web_url and dashboard_url.
start_web() {
  start_app "$1" web "$2"
  # JobRunr 8 starts its dashboard after Tomcat, 6 and 7 before.
  local tomcat='Tomcat started on port \K\d+' dashboard='JobRunr Dashboard .* started at .*:\K\d+(?=/dashboard)'
  wait_for 90 "$1's endpoints" logged "$process_id" "$tomcat"
  wait_for 90 "$1's dashboard" logged "$process_id" "$dashboard"
  web_url=http://127.0.0.1:$(from_log "$process_id" "$tomcat")
  dashboard_url=http://127.0.0.1:$(from_log "$process_id" "$dashboard")
}

# call_web PATH: what the endpoint says is of no interest while it succeeds.
call_web() {
  curl --silent --show-error --fail --max-time 30 --output "$work/answer" "$web_url$1"
}

# with_storage COMMAND...: runs a command of the scaler's with the storage of the latest new_database.
with_storage() {
  JOBRUNR_SCALER_URL=$scaler_url JOBRUNR_SCALER_DATABASE=$scaler_database JOBRUNR_SCALER_USERNAME=$JDBC_USERNAME \
    JOBRUNR_SCALER_PASSWORD=$JDBC_PASSWORD "$@"
}

# start_scaler NAME: for the storage of the latest new_database. Sets scaler_address.
start_scaler() {
  # Read again for each comparison: the default of one second is for many ScaledObjects, not for a script in a hurry.
  NO_COLOR=1 JOBRUNR_SCALER_REFRESH=PT0.1S JOBRUNR_SCALER_HTTP=off \
    with_storage start_process "$1" "$scaler" serve --listen 127.0.0.1:0
  local listening='listening.*\K127\.0\.0\.1:\d+'
  wait_for 30 "the scaler" logged "$process_id" "$listening"
  scaler_address=$(from_log "$process_id" "$listening")
}
