-- Blind indexes whose keys are rotated: rows are written with digests of the next version, and found by both.

-- {index name: [current, next]}, of indexes whose keys were ever rotated. In READ COMMITTED each call sees what is new.
CREATE OR REPLACE FUNCTION @schema@.vsx_index_versions() RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN coalesce((
        SELECT jsonb_object_agg(v.name, jsonb_build_array(v.current, v.next)) FROM @schema@.vs_index_versions v
    ), '{}');
END
$$;

--@@ The key of the lock that keeps a rotation's beginning apart from transactions that write indexed rows.
CREATE OR REPLACE FUNCTION @schema@.vsx_index_lock() RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 7310312405421975653 $$;

--@@ vs_mint for rows with digests: `versions` {index name: [current, next]} are what those were made for. Where that is
-- not so any more nothing is minted, and {"versions"} says what is. Until the transaction ends no rotation begins.
CREATE OR REPLACE FUNCTION @schema@.vs_mint_indexed(
    versions jsonb, claims jsonb, entry text, asked bytea,
    categories text[], subjects bytea, scopes bytea[], key_ids bigint[], wraps text[],
    old_categories text[], old_subjects bytea, old_scopes bytea[], old_key_ids bigint[]
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    live record;
    known jsonb;
BEGIN
    -- Whoever may not write holds up no rotation either.
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NOT NULL THEN
        RETURN jsonb_build_object('code', live.code);
    END IF;
    PERFORM pg_advisory_xact_lock_shared(@schema@.vsx_index_lock());
    known := @schema@.vsx_index_versions();
    IF EXISTS (
        SELECT FROM jsonb_each(versions) AS v (name, used) WHERE coalesce(known -> v.name, '[1, null]') <> v.used
    ) THEN
        RETURN jsonb_build_object('versions', known);
    END IF;
    RETURN @schema@.vs_mint(
        claims, entry, asked, categories, subjects, scopes, key_ids, wraps,
        old_categories, old_subjects, old_scopes, old_key_ids
    );
END
$$;

--@@ In the transaction of rows with digests of the next version: does another row have one of the former? `rows` are the
-- keys of the rows that are written, 16 bytes each, in the order of `digests`. {"taken": where, or null}
-- The answer is what writing the same value twice tells as well. No more digests are taken than the entry was told of.
CREATE OR REPLACE FUNCTION @schema@.vs_index_taken(
    claims jsonb, entry text, index text, digests bytea[], rows bytea
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    live record;
    admitted record;
    keys uuid[] := @schema@.vsx_ids(rows);
    place record;
    taken boolean;
BEGIN
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NOT NULL THEN
        RETURN jsonb_build_object('code', live.code);
    END IF;
    SELECT * INTO admitted FROM @schema@.vsx_admitted(claims, entry, 'seal', 'sealed');
    IF admitted.leaf IS NULL
        OR cardinality(digests) > coalesce((admitted.leaf -> 'counts' ->> 'digests')::int, 0)
        OR cardinality(digests) <> cardinality(keys)
        OR NOT @schema@.vsx_may_seal(
            live.closure, admitted.leaf ->> 'model',
            ARRAY[@schema@.vsx_index_category(live.closure, admitted.leaf ->> 'model', index)], '{}', ARRAY[index]
        )
    THEN
        RETURN '{"code": "not.granted"}'::jsonb;
    END IF;
    SELECT v.* INTO place FROM @schema@.vs_index_versions v WHERE v.name = index AND v.next IS NOT NULL;
    IF NOT FOUND THEN
        RETURN '{"taken": null}'::jsonb;
    END IF;
    -- Row-level security is forced where the plane is applied; for this it lets the owner see rows.
    PERFORM set_config('vaultstore.looking', 'on', true);
    EXECUTE 'SELECT EXISTS (SELECT FROM unnest($1, $2) AS u (digest, own) JOIN '
        || quote_ident(coalesce(place.table_schema, '@schema@')) || '.' || quote_ident(place.table_name)
        || ' t ON t.' || quote_ident(place.column_name) || ' = u.digest WHERE replace(t.' || quote_ident(place.key_name)
        || '::text, ''-'', '''') <> encode(uuid_send(u.own), ''hex''))'
    INTO taken USING digests, keys;
    PERFORM set_config('vaultstore.looking', '', true);
    RETURN jsonb_build_object('taken', CASE WHEN taken THEN jsonb_build_array(
        place.table_schema, place.table_name, place.column_name, place.key_name
    ) END);
END
$$;

--@@ The source category of the field that the index is of, as the closure has it.
CREATE OR REPLACE FUNCTION @schema@.vsx_index_category(closure jsonb, model text, index text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT f.category FROM jsonb_each(closure -> 'fields') AS f (category, places)
    CROSS JOIN jsonb_array_elements(places) AS place
    WHERE place ->> 'model' = vsx_index_category.model AND place -> 'index' ->> 'name' = vsx_index_category.index
        AND place ->> 'mask' IS NULL
    LIMIT 1
$$;

--@@ Steps 1, 2 and 4 for digests of stored values under the next version: for who may read and write the field.
CREATE OR REPLACE FUNCTION @schema@.vs_reindex(claims jsonb, model text, index text, subjects bytea, digests int)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ids uuid[] := @schema@.vsx_ids(subjects);
    counts jsonb := jsonb_build_object('subjects', cardinality(ids), 'digests', digests);
    category text;
    live record;
    counted record;
    told record;
    codes text[];
    entry text;
BEGIN
    IF (digests < 0) IS NOT FALSE OR cardinality(ids) <> (SELECT count(DISTINCT id) FROM unnest(ids) AS id) THEN
        RAISE EXCEPTION 'subjects are asked for once each, and digests counted from 0';
    END IF;
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NULL THEN
        category := @schema@.vsx_index_category(live.closure, model, index);
        live.code := CASE
            WHEN category IS NOT NULL
                AND @schema@.vsx_may_seal(live.closure, model, ARRAY[category], '{}', ARRAY[index])
                AND coalesce(live.closure -> 'read' -> model ? category, false)
            THEN coalesce(@schema@.vsx_ready(claims, live.closure), @schema@.vsx_unwitnessed())
            ELSE 'not.granted'
        END;
    END IF;
    IF live.code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'reindex', live.code, counts, model, '{}', NULL);
    END IF;
    SELECT * INTO counted FROM @schema@.vsx_number(ids);
    codes := @schema@.vsx_judge(claims, live.closure, ids, counted.states, false);
    SELECT * INTO told FROM @schema@.vsx_lines(
        ids, counted.numbers,
        ARRAY(SELECT coalesce(c, 'reindexed') FROM unnest(codes) WITH ORDINALITY AS t (c, at) ORDER BY at),
        ARRAY(SELECT coalesce(s = 'erased', false) FROM unnest(counted.states) WITH ORDINALITY AS t (s, at) ORDER BY at),
        ARRAY[category]
    );
    entry := @schema@.vsx_write(
        claims, gen_random_uuid()::text, 'reindex',
        CASE WHEN EXISTS (SELECT FROM unnest(codes) AS c WHERE c IS NOT NULL) THEN 'partial' ELSE 'reindexed' END,
        counts, model, ARRAY[category], index, told.lines, told.outcomes, told.root
    );
    RETURN jsonb_build_object(
        'entry', entry, 'refused', @schema@.vsx_refusals(codes), 'versions', @schema@.vsx_index_versions()
    );
END
$$;

--@@ Note that every row has a digest of the next version, or that it is to be seen anew whether it has.
CREATE OR REPLACE FUNCTION @schema@.vs_index_settle(claims jsonb, model text, index text, settled boolean) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    category text;
    live record;
BEGIN
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NULL THEN
        category := @schema@.vsx_index_category(live.closure, model, index);
        live.code := CASE
            WHEN category IS NOT NULL
                AND @schema@.vsx_may_seal(live.closure, model, ARRAY[category], '{}', ARRAY[index])
            THEN @schema@.vsx_ready(claims, live.closure)
            ELSE 'not.granted'
        END;
    END IF;
    IF live.code IS NULL THEN
        UPDATE @schema@.vs_index_versions v
        SET settled_at = CASE WHEN settled THEN clock_timestamp() END
        WHERE v.name = index AND v.next IS NOT NULL;
        IF NOT FOUND THEN
            live.code := 'index.settled';
        END IF;
    END IF;
    IF live.code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'reindex', live.code, '{}', model, '{}', NULL);
    END IF;
    RETURN jsonb_build_object('entry', @schema@.vsx_write(
        claims, gen_random_uuid()::text, 'reindex', CASE WHEN settled THEN 'settled' ELSE 'begun' END, '{}',
        model, '{}', index, ''::bytea, '{}', @schema@.vsx_root('{}')
    ), 'versions', @schema@.vsx_index_versions());
END
$$;

--@@ The versions, for who keeps keys.
CREATE OR REPLACE FUNCTION @schema@.vs_index_state(claims jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    live record;
BEGIN
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NULL THEN
        live.code := CASE
            WHEN jsonb_array_length(coalesce(live.closure -> 'keeps_keys', '[]')) > 0
            THEN @schema@.vsx_ready(claims, live.closure)
            ELSE 'not.granted'
        END;
    END IF;
    IF live.code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'rotate', live.code, '{}', NULL, '{}', NULL);
    END IF;
    RETURN jsonb_build_object('entry', '', 'versions', @schema@.vsx_index_versions());
END
$$;

--@@ Let rows be written with digests of `version` from now on, and be looked up by both. `place` is the schema (or NULL),
-- the table, the column of the index and that of the row keys. The lock waits, for a while, for transactions that write
-- indexed rows: from then on no row gets a digest of the current version any more.
CREATE OR REPLACE FUNCTION @schema@.vs_index_rotate(claims jsonb, index text, place text[], version int) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    live record;
    known record;
    counts jsonb := jsonb_build_object('version', version);
BEGIN
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NULL THEN
        live.code := CASE
            WHEN coalesce(live.closure -> 'keeps_keys' ? 'rotate', false) THEN @schema@.vsx_ready(claims, live.closure)
            ELSE 'not.granted'
        END;
    END IF;
    IF live.code IS NULL THEN
        BEGIN
            PERFORM set_config('lock_timeout', '3s', true);
            PERFORM pg_advisory_xact_lock(@schema@.vsx_index_lock());
        EXCEPTION WHEN lock_not_available THEN
            live.code := 'index.busy';
        END;
    END IF;
    IF live.code IS NULL THEN
        SELECT v.current, v.next INTO known FROM @schema@.vs_index_versions v WHERE v.name = index FOR UPDATE;
        IF known.next IS NOT NULL OR version <= coalesce(known.current, 1) THEN
            live.code := 'index.rotating';
        END IF;
    END IF;
    IF live.code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'rotate', live.code, counts, NULL, '{}', index);
    END IF;
    -- Writers have it compared with digests of theirs: nothing but an index and its row keys.
    IF NOT EXISTS (
        SELECT FROM information_schema.columns c
        WHERE c.table_schema = coalesce(place[1], '@schema@') AND c.table_name = place[2] AND c.column_name = place[3]
            AND c.data_type = 'bytea' AND right(c.column_name, 5) = '_bidx'
    ) THEN
        RAISE EXCEPTION 'not a blind index';
    END IF;
    INSERT INTO @schema@.vs_index_versions (
        name, current, next, table_schema, table_name, column_name, key_name, changed_at
    )
    VALUES (index, 1, version, place[1], place[2], place[3], place[4], clock_timestamp())
    ON CONFLICT (name) DO UPDATE SET
        next = excluded.next, table_schema = excluded.table_schema, table_name = excluded.table_name,
        column_name = excluded.column_name, key_name = excluded.key_name, changed_at = excluded.changed_at,
        settled_at = NULL;
    RETURN jsonb_build_object('entry', @schema@.vsx_write(
        claims, gen_random_uuid()::text, 'rotate', 'rotating', counts, NULL, '{}', index,
        ''::bytea, '{}', @schema@.vsx_root('{}')
    ), 'versions', @schema@.vsx_index_versions());
END
$$;

--@@ Let rows be looked up by digests of the next version only, once all have one. Harmless when repeated.
CREATE OR REPLACE FUNCTION @schema@.vs_index_finish(claims jsonb, index text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    live record;
    known record;
    counts jsonb;
BEGIN
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NULL THEN
        live.code := CASE
            WHEN coalesce(live.closure -> 'keeps_keys' ? 'retire', false) THEN @schema@.vsx_ready(claims, live.closure)
            ELSE 'not.granted'
        END;
    END IF;
    SELECT v.current, v.next, v.settled_at INTO known FROM @schema@.vs_index_versions v WHERE v.name = index FOR UPDATE;
    counts := jsonb_build_object('version', coalesce(known.next, known.current, 1));
    IF live.code IS NULL AND known.next IS NOT NULL AND known.settled_at IS NULL THEN
        live.code := 'index.unsettled';
    END IF;
    IF live.code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'retire', live.code, counts, NULL, '{}', index);
    END IF;
    UPDATE @schema@.vs_index_versions v
    SET current = v.next, next = NULL, settled_at = NULL, changed_at = clock_timestamp()
    WHERE v.name = index AND v.next IS NOT NULL;
    RETURN jsonb_build_object('entry', @schema@.vsx_write(
        claims, gen_random_uuid()::text, 'retire', 'rotated', counts, NULL, '{}', index,
        ''::bytea, '{}', @schema@.vsx_root('{}')
    ), 'versions', @schema@.vsx_index_versions());
END
$$;
