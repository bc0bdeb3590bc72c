# The embedded PostgreSQL of a clone: created on first use, never deleted. To be sourced by bash.
# shellcheck shell=bash disable=SC2034  # scripts that source this file use the variables
#
# It listens only on a Unix socket in a folder that only its user may access. Folders in $STATE:
#   postgres/data, postgres/log   the cluster and its log; owned by the user of PostgreSQL
#   secrets/                      the passwords; owned by the caller

# as_postgres COMMAND...: as root, runs COMMAND as `postgres`, because PostgreSQL refuses to run as
# root, and in a folder that this user may access.
as_postgres() {
  if [[ $EUID -eq 0 ]]; then
    (cd / && exec runuser -u postgres -- "$@")
  else
    "$@"
  fi
}

# secret NAME: prints the random password of NAME, which is created on first use.
secret() {
  local file="$STATE/secrets/$1"
  if [[ ! -s $file ]]; then
    (umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$file.new" && mv "$file.new" "$file")
  fi
  cat "$file"
}

# The path of a socket is limited to 107 bytes. For a longer path, uses a folder in /tmp.
postgres_socket_dir() {
  local dir="$STATE/postgres/socket" link="$STATE/run/socket"
  if ((${#dir} > 80)); then
    [[ -d $(readlink "$link") ]] || ln -sfn "$(mktemp -d /tmp/energy-sites.XXXXXXXX)" "$link"
    readlink "$link"
  else
    as_postgres install -d -m 700 "$dir"
    echo "$dir"
  fi
}

# Creates the cluster atomically: an incomplete one is created again.
postgres_create() {
  local data="$STATE/postgres/data" password="$STATE/postgres/password"
  [[ -e $data ]] && return
  as_postgres install -m 600 /dev/null "$password"
  secret superuser | as_postgres tee "$password" >/dev/null
  as_postgres rm -rf "$data.new"
  as_postgres "$PG_BIN/initdb" --pgdata="$data.new" --username=postgres --pwfile="$password" \
    --auth-local=scram-sha-256 --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
  as_postgres rm "$password"
  as_postgres tee --append "$data.new/postgresql.conf" >/dev/null <<'CONF'

# Set by Energy Sites.
listen_addresses = ''
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
CONF
  as_postgres mv "$data.new" "$data"
}

# The user of PostgreSQL must own the cluster's folder and have access to its parent folders.
postgres_prepare() {
  install -d -m 700 "$STATE/secrets"
  if [[ $EUID -eq 0 ]]; then
    chmod 755 "$(dirname "$STATE")" "$STATE"
    install -d -o postgres -g postgres -m 700 "$STATE/postgres"
  else
    install -d -m 700 "$STATE/postgres"
  fi
}

postgres_runs() { as_postgres "$PG_BIN/pg_ctl" status --pgdata="$STATE/postgres/data" >/dev/null; }

# Creates the cluster if there is none, starts it, and creates the roles and the database.
postgres_start() {
  local socket
  postgres_prepare
  postgres_create
  socket="$(postgres_socket_dir)"
  if ! postgres_runs && ! as_postgres "$PG_BIN/pg_ctl" start --wait --timeout=120 --silent \
    --pgdata="$STATE/postgres/data" --log="$STATE/postgres/log" \
    --options="-c unix_socket_directories='$socket'"; then
    as_postgres tail -n 15 "$STATE/postgres/log"
    return 1
  fi
  # The passwords are hexadecimal digits and need no quoting. They are passed by standard input and
  # by a file, because arguments are visible to all users.
  (umask 077 && echo "*:*:*:*:$(secret superuser)" >"$STATE/secrets/pgpass")
  PGPASSFILE="$STATE/secrets/pgpass" "$PG_BIN/psql" --no-psqlrc --quiet --set=ON_ERROR_STOP=1 \
    "host=$socket user=postgres dbname=postgres" <<SQL
SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', name, password)
  FROM (VALUES ('energy_sites_owner', '$(secret owner)'), ('energy_sites', '$(secret app)'))
       AS role (name, password)
 WHERE name NOT IN (SELECT rolname FROM pg_roles) \\gexec
SELECT 'CREATE DATABASE energy_sites OWNER energy_sites_owner'
 WHERE 'energy_sites' NOT IN (SELECT datname FROM pg_database) \\gexec
REVOKE ALL ON DATABASE energy_sites FROM PUBLIC;
GRANT CONNECT ON DATABASE energy_sites TO energy_sites;
SQL
}

# Sets DATABASE_URL and MIGRATE_DATABASE_URL to the embedded database.
postgres_urls() {
  local socket
  socket="$(postgres_socket_dir)"
  DATABASE_URL="host=$socket dbname=energy_sites user=energy_sites password=$(secret app)"
  MIGRATE_DATABASE_URL="host=$socket dbname=energy_sites user=energy_sites_owner password=$(secret owner)"
}

postgres_stop() {
  [[ -e $STATE/postgres/data ]] && postgres_runs || return 0
  as_postgres "$PG_BIN/pg_ctl" stop --mode=fast --wait --timeout=120 --silent \
    --pgdata="$STATE/postgres/data"
}
