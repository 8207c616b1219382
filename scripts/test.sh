#!/usr/bin/env bash
# Runs every test, against real databases and a real browser: starts a PostgreSQL, a MariaDB, a MySQL and a FerretDB server of its own
# (installing Debian's packages where they are missing, and getting MySQL and FerretDB once), then `cargo test`. Arguments go to cargo:
#
#   scripts/test.sh                      every test
#   scripts/test.sh latency              the tests with "latency" in their name
#   scripts/test.sh --test storage -- --nocapture
#
# What a test finds in its environment:
#
#   TEST_POSTGRES_URL, TEST_MARIADB_URL, TEST_MYSQL_URL, TEST_MONGODB_URL
#                                        a superuser's addresses. The servers are shared: make a database of your own
#                                        in them, and neither stop nor reconfigure them.
#   TEST_PGBOUNCER_URL                   PgBouncer in transaction mode before that PostgreSQL
#   TEST_CHROMIUM                        the browser for the HTML report
#   TEST_PG_BIN, TEST_MARIADBD, TEST_MARIADB_INSTALL_DB
#                                        where the programs are
#
# A test that needs a server to itself, to stop it, starts scripts/database.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/databases.sh
source scripts/lib/databases.sh

require_rust
export TEST_CHROMIUM=${TEST_CHROMIUM:-chromium}
command -v "$TEST_CHROMIUM" >/dev/null || install_packages chromium
work=$(mktemp -d)
trap 'stop_databases; rm -rf "$work"' EXIT
start_postgres "$work"
start_pgbouncer "$work"
start_mariadb "$work"
start_mysql "$work"
start_ferretdb "$work"

export TEST_POSTGRES_URL=$PG_URL TEST_MARIADB_URL=$MARIADB_URL TEST_MYSQL_URL=$MYSQL_URL TEST_MONGODB_URL=$MONGODB_URL
export TEST_PGBOUNCER_URL=$PGBOUNCER_URL
# Most tests wait.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
export TEST_PG_BIN=$PG_BIN TEST_MARIADBD=$MARIADBD TEST_MARIADB_INSTALL_DB=$MARIADB_INSTALL_DB
cargo test --features protect "$@"
