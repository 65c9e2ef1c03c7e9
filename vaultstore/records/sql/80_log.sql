-- Nobody changes the past by accident or with ordinary rights: rows of the audit log stay as they were written. An
-- erasure may empty lines, scopes and the name of an actor; a checkpoint may get more signatures. Whoever owns the
-- tables can drop these triggers: the signed tree, and checkpoints that are kept elsewhere, show it.

-- The columns named by the trigger's arguments may change, an actor may be cleared; the others, and the row itself, may
-- not change.
CREATE OR REPLACE FUNCTION @schema@.vsx_append_only() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - TG_ARGV = to_jsonb(OLD) - TG_ARGV
        AND (NOT 'actor' = ANY (TG_ARGV) OR to_jsonb(NEW) ->> 'actor' IN ('', to_jsonb(OLD) ->> 'actor'))
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION USING MESSAGE = TG_TABLE_NAME || ' is append-only', ERRCODE = 'restrict_violation';
END
$$;

--@@ The tables come with a later migration than this function may: then it makes the triggers anew.
DO $$
DECLARE
    name text;
    free text;
    on_table text;
BEGIN
    FOR name, free IN
        VALUES
            ('vs_entries', '''lines'', ''outcomes'', ''scopes'', ''actor'''), ('vs_log', ''),
            ('vs_checkpoints', '''note'', ''witnessed_at''')
    LOOP
        on_table := '@schema@.' || name;
        CONTINUE WHEN to_regclass(on_table) IS NULL;
        EXECUTE 'CREATE OR REPLACE TRIGGER ' || name || '_rows BEFORE UPDATE OR DELETE ON ' || on_table
            || ' FOR EACH ROW EXECUTE FUNCTION @schema@.vsx_append_only(' || free || ')';
        EXECUTE 'CREATE OR REPLACE TRIGGER ' || name || '_table BEFORE TRUNCATE ON ' || on_table
            || ' FOR EACH STATEMENT EXECUTE FUNCTION @schema@.vsx_append_only()';
        -- Also in a session that calls itself a replica.
        EXECUTE 'ALTER TABLE ' || on_table || ' ENABLE ALWAYS TRIGGER ' || name || '_rows';
        EXECUTE 'ALTER TABLE ' || on_table || ' ENABLE ALWAYS TRIGGER ' || name || '_table';
    END LOOP;
END
$$;
