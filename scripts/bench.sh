#!/usr/bin/env bash
# Runs the benchmarks, against servers that it starts:
#
#   scripts/bench.sh                     all of them: calls, growth, activation, fleet, footprint, promise, simulate,
#                                        recommend; a quarter of an hour
#   scripts/bench.sh calls growth        these
#   scripts/bench.sh --full growth       up to ten million rows, and FerretDB, whose reads take up to a minute
#   scripts/bench.sh --database=MariaDB growth   growth and promise on PostgreSQL, MariaDB, MySQL, SQLite or FerretDB alone
#   scripts/bench.sh --profile=release   with what `cargo build --release` builds; without it, what is deployed (`dist`)
#   scripts/bench.sh --program=FILE      calls, fleet and footprint measure this program, such as that of the image; best with
#                                        --profile=release, which is built in minutes
#   scripts/bench.sh --quick             only whether they work, on what is compiled for the tests
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/databases.sh
source scripts/lib/databases.sh

require_rust
options=() profile=(--profile dist) benches=()
for argument in "$@"; do
  case $argument in
  # With the features of the tests, so that little is compiled again.
  --quick) options+=(--quick) profile=(--profile test --features protect) ;;
  --full | --database=*) options+=("$argument") ;;
  --program=*) BENCH_PROGRAM=$(realpath "${argument#*=}") && export BENCH_PROGRAM ;;
  --profile=*) profile=(--profile "${argument#*=}") ;;
  *) benches+=(--bench "$argument") ;;
  esac
done
((${#benches[@]})) || benches=(--bench calls --bench growth --bench activation --bench fleet --bench footprint --bench promise --bench simulate --bench recommend)

work=$(mktemp -d)
trap 'stop_databases; rm -rf "$work"' EXIT
# Who inserts waits for the disk, as in production; and the SQL scalers that stand beside ours take 300 connections.
export PG_FSYNC=on PG_MAX_CONNECTIONS=400
start_postgres "$work"
start_mariadb "$work"
start_mysql "$work"
start_ferretdb "$work"
export TEST_POSTGRES_URL=$PG_URL TEST_MARIADB_URL=$MARIADB_URL TEST_MYSQL_URL=$MYSQL_URL TEST_MONGODB_URL=$MONGODB_URL

printf '%s, %s processors, %s of memory\n' \
  "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(free --human | awk '/^Mem:/ {print $2}')"
cargo bench --quiet "${profile[@]}" "${benches[@]}" -- "${options[@]}"
