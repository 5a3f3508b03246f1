# shellcheck shell=bash
# Throwaway clusters, for sourcing.  Wants $RUN (a short directory path for data and sockets, ours
# alone), $LOGS, and $PATH with the private server's programs first.

# cluster_start NAME [VARIABLE=VALUE...]: starts one and points libpq's environment at it.  The
# variables go to the server only.
cluster_start() {
  local name=$1
  shift
  local data=$RUN/$name/data
  mkdir -p "$RUN/$name" "$LOGS/$name"
  initdb -D "$data" -U postgres -A trust -E UTF8 --no-locale --no-sync \
    > "$LOGS/$name/initdb.log" 2>&1 || return
  cat >> "$data/postgresql.conf" <<- END
	listen_addresses = ''
	unix_socket_directories = '$RUN/$name'
	port = 5432
	fsync = off
	full_page_writes = off
	synchronous_commit = off
	shared_preload_libraries = 'session_reconciler'
	max_worker_processes = 16
	restart_after_crash = off
	log_line_prefix = '%m [%p] %b %a '
	log_statement = ddl
	END
  # What the project's tests want of a server beyond that.
  [ ! -e test/cluster.conf ] || cat test/cluster.conf >> "$data/postgresql.conf"
  env "$@" pg_ctl -s -w -t 120 -D "$data" -l "$LOGS/$name/postgres.log" start \
    > "$LOGS/$name/pg_ctl.log" 2>&1 < /dev/null || return
  export PGHOST=$RUN/$name PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
}

# cluster_stop NAME: orderly, so that a shutdown that crashes or hangs is seen.
cluster_stop() {
  pg_ctl -s -w -t 60 -D "$RUN/$1/data" -m fast stop >> "$LOGS/$1/pg_ctl.log" 2>&1 || return
  rm -rf "${RUN:?}/$1"
}

# cluster_crashed NAME: did a process of it die by a signal or an assertion?
cluster_crashed() {
  grep -qE 'was terminated by signal|TRAP:|AddressSanitizer|runtime error:' "$LOGS/$1/postgres.log"
}

# clusters_kill: whatever still runs below $RUN, also servers that tests started by themselves.
clusters_kill() {
  local pidfile
  while IFS= read -r -d '' pidfile; do
    pg_ctl -s -w -t 20 -D "$(dirname "$pidfile")" -m immediate stop > /dev/null 2>&1 || true
  done < <(find "$RUN" -name postmaster.pid -print0 2> /dev/null)
}
