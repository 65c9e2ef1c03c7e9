-- search: needles are charged and audited before their digests are made, and what they hit after.

-- Steps 1 to 4. `granted` was decided by the caller below; `outcome` says which of the two it is.
CREATE OR REPLACE FUNCTION @schema@.vsx_search(
    claims jsonb, model text, field text, needles int, outcome text
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    live record;
    entry uuid := gen_random_uuid();
    counts jsonb := jsonb_build_object('needles', needles);
BEGIN
    IF (needles < 0) IS NOT FALSE THEN
        RAISE EXCEPTION 'needles are counted from 0';
    END IF;
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NULL THEN
        live.code := CASE
            WHEN outcome = 'searched' AND coalesce(live.closure -> 'search' -> model ? field, false)
                OR outcome = 'collision' AND @schema@.vsx_may_write(live.closure, model, field)
            THEN coalesce(
                @schema@.vsx_ready(claims, live.closure),
                CASE WHEN outcome = 'searched' THEN @schema@.vsx_unwitnessed() END
            )
            ELSE 'not.granted'
        END;
    END IF;
    IF live.code IS NULL
        AND cardinality(@schema@.vsx_spend(claims, live.closure, 'search', ARRAY[entry], needles, '')) > 0
    THEN
        live.code := 'budget.exhausted';
    END IF;
    IF live.code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'search', live.code, counts, model, '{}', field);
    END IF;
    RETURN jsonb_build_object('entry', @schema@.vsx_write(
        claims, entry::text, 'search', outcome, counts, model, '{}', field, ''::bytea, '{}', @schema@.vsx_root('{}')
    ), 'versions', @schema@.vsx_index_versions());
END
$$;

--@@ Whether the field may be written: only then can a write of it have met a taken value.
CREATE OR REPLACE FUNCTION @schema@.vsx_may_write(closure jsonb, model text, field text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT EXISTS (
        SELECT FROM jsonb_each(closure -> 'fields') AS f (category, places)
        CROSS JOIN jsonb_array_elements(places) AS place
        WHERE closure -> 'write' -> vsx_may_write.model ? f.category AND place ->> 'model' = vsx_may_write.model
            AND place ->> 'field' = vsx_may_write.field AND place ->> 'mask' IS NULL
    )
$$;

--@@ Steps 1 to 4 of a search for so many needles.
CREATE OR REPLACE FUNCTION @schema@.vs_search(claims jsonb, model text, field text, needles int) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN @schema@.vsx_search(claims, model, field, needles, 'searched');
END
$$;

--@@ Charge and audit a uniqueness violation as the search that it amounts to.
CREATE OR REPLACE FUNCTION @schema@.vs_collide(claims jsonb, model text, field text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN @schema@.vsx_search(claims, model, field, 1, 'collision');
END
$$;

--@@ Audit what a search found. The entry's id begins with the search's.
CREATE OR REPLACE FUNCTION @schema@.vs_found(claims jsonb, entry text, hits int, subjects bytea) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ids uuid[] := @schema@.vsx_ids(subjects);
    counts jsonb := jsonb_build_object('rows', hits, 'subjects', cardinality(ids));
    live record;
    searched jsonb;
    counted record;
    told record;
BEGIN
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    SELECT e.leaf::jsonb INTO searched FROM @schema@.vs_entries e
    WHERE e.id = entry AND e.kind = 'search' AND e.login = session_user AND e.leaf::jsonb -> 'jti' = claims -> 'jti';
    IF live.code IS NOT NULL OR searched IS NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'found', coalesce(live.code, 'not.granted'), counts, NULL, '{}', NULL);
    END IF;
    SELECT * INTO counted FROM @schema@.vsx_number(ids);
    SELECT * INTO told FROM @schema@.vsx_lines(
        ids, counted.numbers, array_fill('found'::text, ARRAY[cardinality(ids)]),
        ARRAY(SELECT coalesce(s = 'erased', false) FROM unnest(counted.states) WITH ORDINALITY AS t (s, at) ORDER BY at),
        '{}'
    );
    RETURN jsonb_build_object('entry', @schema@.vsx_write(
        claims, entry || '.' || left(gen_random_uuid()::text, 8), 'found', 'found', counts,
        searched ->> 'model', '{}', searched ->> 'field', told.lines, told.outcomes, told.root
    ), 'versions', @schema@.vsx_index_versions());
END
$$;
