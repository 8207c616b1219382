#!/usr/bin/env bash
# Runs the storage tests on other versions of PostgreSQL and MariaDB than Debian's, from the oldest to the newest that the
# documentation names. Their programs come from Maven's repository and stay in the cache.
#
#   scripts/test-versions.sh                      all of them
#   scripts/test-versions.sh "postgres 18.6.0"    one
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/databases.sh
source scripts/lib/databases.sh

(($#)) || set -- "postgres 12.22.0" "postgres 18.6.0" "mariadb 11.4.5"
# The modules with a test per database.
readonly MODULES=(storage storage::damaged_rows storage::large_tables storage::recurring storage::tables)

require_rust
# Most tests wait.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
work=$(mktemp -d)
trap 'stop_databases; rm -rf "$work"' EXIT

for version; do
  read -r database number <<<"$version"
  printf '\n%s %s\n' "$database" "$number"
  (
    # Its own servers, which end with it.
    trap stop_databases EXIT
    mkdir "$work/$number"
    "use_$database" "$work/$number" "$number"
    "start_$database" "$work/$number"
    export TEST_POSTGRES_URL=${PG_URL:-} TEST_MARIADB_URL=${MARIADB_URL:-} TEST_MYSQL_URL=${MYSQL_URL:-} TEST_ONLY=$database
    cargo test --quiet --locked --features protect --test it -- storage::model "storage::plans::$database" "storage::encodings::$database" \
      "${MODULES[@]/%/::$database::}"
  )
done
