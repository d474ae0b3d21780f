"""What can be attached to a live table: what a swap carries over, and what it refuses."""

from __future__ import annotations

FUNCTION = "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$"

# Kind of thing: the statements that make it, and a word that names it. {role} is a role.
CARRIED: dict[str, tuple[list[str], str]] = {
    "view": (
        [
            "CREATE VIEW best WITH (security_barrier = true) AS SELECT key AS k, sum FROM counters",
            "CREATE VIEW better AS SELECT * FROM best WHERE sum > 0 WITH CHECK OPTION",
            "GRANT SELECT ON best, better TO {role}",
            "COMMENT ON VIEW best IS 'the best'",
        ],
        "view public.best",
    ),
    "view of another owner": (
        [
            "CREATE VIEW best AS TABLE counters",
            "ALTER VIEW best OWNER TO {role}",
            "GRANT SELECT ON counters TO {role}",
        ],
        "view public.best",
    ),
    "grant": (
        [
            "GRANT SELECT, INSERT ON counters TO {role}",
            "GRANT UPDATE ON counters TO {role} WITH GRANT OPTION",
            "GRANT SELECT ON counters TO PUBLIC",
        ],
        "grant SELECT to PUBLIC",
    ),
    "column grant": (
        ["GRANT SELECT (key, sum), UPDATE (last) ON counters TO {role}"],
        "grant SELECT (sum) to",
    ),
    "owner": (["ALTER TABLE counters OWNER TO {role}"], "owner"),
    "trigger": (
        [
            FUNCTION,
            "CREATE TRIGGER one BEFORE UPDATE OF sum ON counters FOR EACH ROW "
            "WHEN (NEW.sum > 0) EXECUTE FUNCTION touch()",
            "CREATE TRIGGER two AFTER INSERT ON counters FOR EACH ROW EXECUTE FUNCTION touch()",
            "ALTER TABLE counters DISABLE TRIGGER two",
            "COMMENT ON TRIGGER two ON counters IS 'sleeps; well'",
            "CREATE CONSTRAINT TRIGGER three AFTER INSERT ON counters DEFERRABLE "
            "FOR EACH ROW EXECUTE FUNCTION touch()",
            "ALTER TABLE counters ENABLE ALWAYS TRIGGER three",
        ],
        "trigger one",
    ),
    "row-level security": (
        [
            "CREATE POLICY mine ON counters AS RESTRICTIVE FOR SELECT TO {role} "
            "USING (key <> 'it''s')",
            "CREATE POLICY ours ON counters TO PUBLIC, {role} USING (true) WITH CHECK (sum > 0)",
            "ALTER TABLE counters ENABLE ROW LEVEL SECURITY",
            "COMMENT ON POLICY mine ON counters IS 'of them'",
        ],
        "policy mine",
    ),
    "forced row-level security": (
        [
            "CREATE POLICY ours ON counters USING (true)",
            "ALTER TABLE counters ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        ],
        "row-level security, forced",
    ),
    "comment": (
        [
            "COMMENT ON TABLE counters IS 'what''s counted: 100 %'",
            "COMMENT ON COLUMN counters.sum IS 'in euros'",
            "COMMENT ON INDEX counters_sum IS 'for reports'",
            "COMMENT ON CONSTRAINT counters_pkey ON counters IS 'the key'",
        ],
        "comment on column sum",
    ),
    "storage parameter": (
        ["ALTER TABLE counters SET (fillfactor = 70, toast.autovacuum_enabled = false)"],
        "storage parameter fillfactor=70",
    ),
    "column settings": (
        [
            "ALTER TABLE counters ALTER key SET STATISTICS 500, ALTER key SET STORAGE EXTERNAL, "
            "ALTER sum SET (n_distinct = 5)"
        ],
        "statistics target of key",
    ),
    "default": (["ALTER TABLE counters ALTER last SET DEFAULT 7"], "default of last"),
    "replica identity": (["ALTER TABLE counters REPLICA IDENTITY FULL"], "replica identity"),
    "replica identity by index": (
        [
            "CREATE UNIQUE INDEX by_hand ON counters (key, count)",
            "ALTER TABLE counters REPLICA IDENTITY USING INDEX by_hand",
            "ALTER TABLE counters CLUSTER ON by_hand",
        ],
        "index by_hand",
    ),
    "index": (
        [
            'CREATE INDEX "By hand" ON counters USING btree (lower(key) DESC) INCLUDE (last) '
            "WITH (fillfactor = 60) WHERE sum > 0",
            "COMMENT ON INDEX \"By hand\" IS 'mine'",
        ],
        'index "By hand"',
    ),
    "constraint": (
        [
            "ALTER TABLE counters ADD CONSTRAINT positive CHECK (count > 0)",
            "ALTER TABLE counters ADD CONSTRAINT once UNIQUE (key, last)",
            "CREATE TABLE keys (key text PRIMARY KEY)",
            "INSERT INTO keys VALUES ('a')",
            "ALTER TABLE counters ADD CONSTRAINT known FOREIGN KEY (key) REFERENCES keys",
        ],
        "constraint known",
    ),
    "statistics": (
        ["CREATE STATISTICS related (dependencies) ON count, sum FROM counters"],
        "statistics related",
    ),
    "publication of all tables": (
        ["CREATE PUBLICATION everything FOR ALL TABLES"],
        "publication everything",
    ),
}

REFUSED: dict[str, tuple[list[str], str]] = {
    "materialized view": (
        ["CREATE MATERIALIZED VIEW sums AS TABLE counters"],
        "materialized view public.sums",
    ),
    "inbound foreign key": (
        ["CREATE TABLE other (key text CONSTRAINT refers REFERENCES counters)"],
        "foreign key refers of public.other",
    ),
    "publication": (["CREATE PUBLICATION one FOR TABLE counters"], "publication one"),
    "owned sequence": (
        ["CREATE SEQUENCE numbers OWNED BY counters.last"],
        "sequence public.numbers",
    ),
    "identity": (
        [
            "ALTER TABLE counters ALTER last SET NOT NULL, "
            "ALTER last ADD GENERATED ALWAYS AS IDENTITY"
        ],
        "identity column last",
    ),
    "child": (["CREATE TABLE child () INHERITS (counters)"], "table public.child is a child"),
    "parent": (
        ["CREATE TABLE parent (key text)", "ALTER TABLE counters INHERIT parent"],
        "the live table is a child of public.parent",
    ),
    "partition": (
        [
            "CREATE TABLE whole (LIKE counters) PARTITION BY LIST (key)",
            "ALTER TABLE whole ATTACH PARTITION counters DEFAULT",
        ],
        "the live table is a child of public.whole",
    ),
    "rule": (
        ["CREATE RULE nothing AS ON DELETE TO counters DO INSTEAD NOTHING"],
        "rule nothing",
    ),
    "function with it in its body": (
        ["CREATE FUNCTION n() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM counters; END"],
        "function public.n()",
    ),
    "function with its row type": (
        ["CREATE FUNCTION f() RETURNS SETOF counters LANGUAGE sql AS 'TABLE counters'"],
        "function public.f() uses the row type",
    ),
    "column by hand": (["ALTER TABLE counters ADD mine text"], "column mine was added by hand"),
    "policy of another table": (
        [
            "CREATE TABLE other (key text)",
            "CREATE POLICY known ON other USING (key IN (SELECT c.key FROM counters c))",
        ],
        "policy known of public.other",
    ),
    "unlogged": (["ALTER TABLE counters SET UNLOGGED"], "the live table is unlogged"),
}
