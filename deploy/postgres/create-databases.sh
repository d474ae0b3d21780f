#!/bin/sh
# Makes the roles and databases of Temporal and of Refold, unless they are there. Safe to repeat.
# Reads PGHOST, PGUSER and PGPASSWORD (an account that may create both) and the two passwords.
set -eu

# role password database …: the role owns its databases and nothing else.
make() {
  role=$1
  password=$2
  shift 2
  psql --dbname postgres --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
    --set role="$role" --set password="$password" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', :'role')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
SELECT format('ALTER ROLE %I PASSWORD %L', :'role', :'password') \gexec
SQL
  for database in "$@"; do
    psql --dbname postgres --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
      --set role="$role" --set database="$database" <<'SQL'
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'role')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
SQL
    echo "database $database, owned by $role: ready"
  done
}

make temporal "$PASSWORD_OF_TEMPORAL" temporal temporal_visibility
make refold "$PASSWORD_OF_REFOLD" refold

# Names who holds the head of the log still, in messages; nothing depends on it.
psql --dbname postgres --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
  --command 'SET client_min_messages = warning' --command 'GRANT pg_read_all_stats TO refold'
