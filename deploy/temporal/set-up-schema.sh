#!/bin/sh
# Makes or upgrades the tables of Temporal. Safe to repeat; run it with each new server version.
set -eu

schema() {
  database=$1
  versions=/etc/temporal/schema/postgresql/v12/$2/versioned
  set -- temporal-sql-tool --plugin postgres12 \
    --ep "$POSTGRES_SEEDS" -p "$DB_PORT" -u "$POSTGRES_USER" --db "$database"
  "$@" setup-schema -v 0.0
  "$@" update-schema -d "$versions"
}

schema temporal temporal
schema temporal_visibility visibility
