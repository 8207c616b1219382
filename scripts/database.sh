#!/usr/bin/env bash
# Starts one throw-away server and prints its address and process id; stops it when its standard input ends (Ctrl-D) or
# on a signal (Ctrl-C). With the same DIRECTORY and PORT a server comes back with its data where it was.
#
#   scripts/database.sh postgres|mariadb|mysql|ferretdb DIRECTORY [PORT]
#
# With DATABASE_TLS=FOLDER PostgreSQL, MariaDB and FerretDB speak TLS with server.crt and server.key of that folder.
#
# For trying things by hand, and for tests that take a server away or make it hang (kill -STOP, kill -CONT; PostgreSQL's
# open connections hang only when its child processes are stopped, too).
set -euo pipefail
# shellcheck source=scripts/lib/databases.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/databases.sh"

(($# == 2 || $# == 3)) || fail "usage: $0 postgres|mariadb|mysql|ferretdb DIRECTORY [PORT]"
trap stop_databases EXIT
case $1 in
postgres)
  start_postgres "${@:2}"
  echo "$PG_URL $PG_PID"
  ;;
mariadb)
  start_mariadb "${@:2}"
  echo "$MARIADB_URL $MARIADB_PID"
  ;;
mysql)
  start_mysql "${@:2}"
  echo "$MYSQL_URL $MYSQL_PID"
  ;;
ferretdb)
  start_ferretdb "${@:2}"
  echo "$MONGODB_URL $MONGODB_PID"
  ;;
*) fail "$1 is none of postgres, mariadb, mysql and ferretdb" ;;
esac
# The shell's own read: a signal ends it, and no child of ours holds the standard output open.
read -r -d '' || true
