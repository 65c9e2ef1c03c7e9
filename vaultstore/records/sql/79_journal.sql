-- How far the journals are applied. A login keeps journals in its own name; operators, who own the tables, in nobody's.

-- In whose name this login keeps journals: NULL for operators.
CREATE OR REPLACE FUNCTION @schema@.vsx_keeper() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT CASE WHEN pg_has_role(session_user, c.relowner, 'MEMBER') THEN NULL ELSE session_user::text END
        FROM pg_class c WHERE c.oid = to_regclass('@schema@.vs_journal')
    );
END
$$;

--@@ How far the database has come: for whoever opens a store, to hold against journals and kept checkpoints.
CREATE OR REPLACE FUNCTION @schema@.vs_standing() RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mine text := @schema@.vsx_keeper();
BEGIN
    RETURN jsonb_build_object(
        'size', (SELECT coalesce(max(l.position) + 1, 0) FROM @schema@.vs_log l),
        'keeper', mine,
        'journals', (
            SELECT coalesce(jsonb_agg(jsonb_build_array(j.journal, j.number, encode(j.hash, 'hex'), j.ends)), '[]')
            FROM @schema@.vs_journal j WHERE j.keeper IS NOT DISTINCT FROM mine AND j.lost_at IS NULL
        ),
        'restored', (
            SELECT coalesce(jsonb_agg(jsonb_build_array(r.size, encode(r.root, 'hex'))), '[]') FROM @schema@.vs_restored r
        )
    );
END
$$;

--@@ Lock a journal until the transaction ends: [number, hash, ends] of the last line that is applied. One that is not
-- known yet is applied up to its first line. Operators may do it for any keeper, a login for itself alone.
CREATE OR REPLACE FUNCTION @schema@.vs_journal_hold(name text, first bytea, ends bigint, keeper text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    mine text := @schema@.vsx_keeper();
    held record;  -- not the row type: the table comes with a later migration than this function
BEGIN
    IF length(first) IS DISTINCT FROM 32 OR name !~ '^[0-9a-f-]{36}$' OR ends IS NULL OR ends < 1 THEN
        RAISE EXCEPTION USING MESSAGE = 'not a journal', ERRCODE = 'invalid_parameter_value';
    END IF;
    IF mine IS NULL OR mine = keeper THEN
        INSERT INTO @schema@.vs_journal AS j (journal, keeper, number, hash, ends)
        VALUES (name, keeper, 0, first, ends) ON CONFLICT DO NOTHING;
    END IF;
    SELECT j.* INTO held FROM @schema@.vs_journal j WHERE j.journal = name FOR UPDATE;
    IF NOT FOUND OR held.lost_at IS NOT NULL OR (mine IS NOT NULL AND held.keeper IS DISTINCT FROM mine) THEN
        RAISE EXCEPTION USING
            MESSAGE = 'the journal is another login''s, or was given up as lost', ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN jsonb_build_array(held.number, encode(held.hash, 'hex'), held.ends);
END
$$;

--@@ Write down that a journal is applied up to a line. It only ever goes on.
CREATE OR REPLACE FUNCTION @schema@.vs_journal_done(name text, line bigint, hashed bytea, until bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mine text := @schema@.vsx_keeper();
BEGIN
    UPDATE @schema@.vs_journal j SET number = line, hash = hashed, ends = until
    WHERE j.journal = name AND j.lost_at IS NULL AND (mine IS NULL OR j.keeper = mine)
        AND line > j.number AND until > j.ends AND length(hashed) = 32;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            MESSAGE = 'the journal is not this login''s, or is further already', ERRCODE = 'insufficient_privilege';
    END IF;
END
$$;
