-- seal: admission on the gate's own connection, minting in the row's transaction.

-- Steps 1, 2 and 4; new subjects are registered. One refused subject refuses all, and only refused ones get lines then.
-- `digests` is how many values are to be indexed: what is asked of the index's key stands in the entry.
CREATE OR REPLACE FUNCTION @schema@.vs_seal(
    claims jsonb, model text, sources text[], categories text[], indexes text[], subjects bytea, digests int
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ids uuid[] := @schema@.vsx_ids(subjects);
    n int := cardinality(ids);
    counts jsonb := jsonb_build_object('subjects', n)
        || CASE WHEN digests = 0 THEN '{}' ELSE jsonb_build_object('digests', digests) END;
    named text[] := ARRAY(SELECT DISTINCT c FROM unnest(sources || categories) AS c);
    live record;
    counted record;
    told record;
    states text[];
    codes text[];
    whom uuid[];
    reasons text[];
    entry text;
BEGIN
    IF n <> (SELECT count(DISTINCT id) FROM unnest(ids) AS id) THEN
        RAISE EXCEPTION 'subjects are asked for once each';
    END IF;
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NULL THEN
        live.code := CASE
            WHEN @schema@.vsx_may_seal(live.closure, model, sources, categories, indexes)
            THEN @schema@.vsx_ready(claims, live.closure)
            ELSE 'not.granted'
        END;
    END IF;
    IF live.code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'seal', live.code, counts, model, named, NULL);
    END IF;
    states := @schema@.vsx_hold(ids);
    codes := @schema@.vsx_judge(claims, @schema@.vsx_asking(live.closure, sources), ids, ARRAY(
        SELECT coalesce(s, 'active') FROM unnest(states) WITH ORDINALITY AS t (s, at) ORDER BY at
    ), true);
    IF EXISTS (SELECT FROM unnest(codes) AS c WHERE c IS NOT NULL) THEN
        SELECT array_agg(u.id ORDER BY at), array_agg(u.code ORDER BY at) INTO whom, reasons
        FROM unnest(ids, codes) WITH ORDINALITY AS u (id, code, at)
        WHERE code IS NOT NULL;
    ELSE
        INSERT INTO @schema@.vs_subjects (subject, state, number, created_at, changed_at)
        SELECT u.id, 'active', 0, clock_timestamp(), clock_timestamp()
        FROM unnest(ids, states) AS u (id, state)
        WHERE u.state IS NULL
        ORDER BY u.id
        ON CONFLICT DO NOTHING;
        whom := ids;
    END IF;
    SELECT * INTO counted FROM @schema@.vsx_number(whom);
    SELECT * INTO told FROM @schema@.vsx_lines(
        whom, counted.numbers, coalesce(reasons, array_fill('sealed'::text, ARRAY[n])),
        ARRAY(SELECT coalesce(s = 'erased', false) FROM unnest(counted.states) WITH ORDINALITY AS t (s, at) ORDER BY at),
        named
    );
    entry := @schema@.vsx_write(
        claims, gen_random_uuid()::text, 'seal',
        CASE WHEN reasons IS NULL THEN 'sealed' ELSE @schema@.vsx_outcome(reasons) END,
        counts || jsonb_build_object('sealed', CASE WHEN reasons IS NULL THEN n ELSE 0 END),
        model, named, NULL, told.lines, told.outcomes, told.root
    );
    RETURN jsonb_build_object(
        'entry', entry, 'refused', @schema@.vsx_refusals(codes), 'versions', @schema@.vsx_index_versions()
    );
END
$$;

--@@ Whether the sources may be written, and the keys and digests asked for belong to such writes.
CREATE OR REPLACE FUNCTION @schema@.vsx_may_seal(
    closure jsonb, model text, sources text[], categories text[], indexes text[]
) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT cardinality(sources) > 0
        AND coalesce(closure -> 'write' -> model ?& sources, false)
        AND coalesce(closure -> 'seals' -> model ?& categories, false)
        AND NOT EXISTS (
            SELECT FROM unnest(indexes) AS wanted
            WHERE NOT EXISTS (
                SELECT FROM jsonb_each(closure -> 'fields') AS f (category, places)
                CROSS JOIN jsonb_array_elements(places) AS place
                WHERE closure -> 'write' -> vsx_may_seal.model ? f.category
                    AND place ->> 'model' = vsx_may_seal.model AND place -> 'index' ->> 'name' = wanted
            )
        )
$$;

--@@ States of subjects that stay as they are until this transaction ends: erasure, restriction and withdrawal wait.
CREATE OR REPLACE FUNCTION @schema@.vsx_hold(ids uuid[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    states text[];
BEGIN
    WITH held AS MATERIALIZED (
        SELECT s.subject, s.state FROM @schema@.vs_subjects s
        WHERE s.subject = ANY (ids)
        ORDER BY s.subject
        FOR KEY SHARE
    )
    SELECT coalesce(array_agg(h.state ORDER BY at), '{}') INTO states
    FROM unnest(ids) WITH ORDINALITY AS u (id, at) LEFT JOIN held h ON h.subject = u.id;
    RETURN states;
END
$$;

--@@ Add the new keys of a committed admission, in the transaction of the rows that they seal, and see that the keys to
-- be used again are still there. {"code", "refused": [[index into asked, code]], "gone": [index into the reused],
-- "stale": a wrap is of a version of its category's key that was given up}
CREATE OR REPLACE FUNCTION @schema@.vs_mint(
    claims jsonb, entry text, asked bytea,
    categories text[], subjects bytea, scopes bytea[], key_ids bigint[], wraps text[],
    old_categories text[], old_subjects bytea, old_scopes bytea[], old_key_ids bigint[]
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ids uuid[] := @schema@.vsx_ids(asked);
    admitted record;
    live record;
    codes text[];
    gone jsonb;
BEGIN
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NOT NULL THEN
        RETURN jsonb_build_object('code', live.code);
    END IF;
    SELECT * INTO admitted FROM @schema@.vsx_admitted(claims, entry, 'seal', 'sealed');
    IF admitted.leaf IS NULL
        OR NOT coalesce(admitted.leaf -> 'categories' ?& (categories || old_categories), false)
        OR EXISTS (
            SELECT FROM unnest(ids || @schema@.vsx_ids(subjects) || @schema@.vsx_ids(old_subjects)) AS u (id)
            WHERE NOT EXISTS (SELECT FROM unnest(admitted.ids) AS a (id) WHERE a.id = u.id)
                -- Of one who was erased since, the entry no longer says so; the judgement below refuses them.
                AND NOT EXISTS (SELECT FROM @schema@.vs_subjects s WHERE s.subject = u.id AND s.state = 'erased')
        )
        OR EXISTS (
            SELECT FROM unnest(@schema@.vsx_ids(subjects)) AS u (id)
            WHERE NOT EXISTS (SELECT FROM unnest(ids) AS a (id) WHERE a.id = u.id)
        )
    THEN
        RETURN '{"code": "not.granted"}'::jsonb;
    END IF;
    codes := @schema@.vsx_judge(
        claims, @schema@.vsx_asking(live.closure, categories || old_categories), ids, @schema@.vsx_hold(ids), true
    );
    IF EXISTS (SELECT FROM unnest(codes) AS c WHERE c IS NOT NULL) THEN
        RETURN jsonb_build_object('refused', @schema@.vsx_refusals(codes));
    END IF;
    SELECT jsonb_agg(at - 1 ORDER BY at) INTO gone
    FROM unnest(@schema@.vsx_ids(old_subjects), old_categories, old_scopes, old_key_ids)
        WITH ORDINALITY AS u (id, category, scope, key_id, at)
    WHERE NOT EXISTS (
        SELECT FROM @schema@.vs_keyring k
        WHERE k.subject = u.id AND k.category = u.category AND k.scope = u.scope AND k.key_id = u.key_id
    );
    IF gone IS NOT NULL THEN
        RETURN jsonb_build_object('gone', gone);
    END IF;
    IF @schema@.vsx_stale(categories, wraps) THEN
        RETURN '{"stale": true}'::jsonb;
    END IF;
    INSERT INTO @schema@.vs_keyring (subject, category, scope, key_id, wrapped, minted_by, minted_at)
    SELECT u.id, u.category, u.scope, u.key_id, u.wrapped, claims ->> 'purpose', clock_timestamp()
    FROM unnest(@schema@.vsx_ids(subjects), categories, scopes, key_ids, wraps) AS u (id, category, scope, key_id, wrapped)
    ORDER BY u.id, u.category;
    RETURN '{}'::jsonb;
END
$$;

--@@ Audit that a write which an entry admitted was refused after all: vs_mint can't, its transaction is rolled back.
-- Of a disclosure only vs_wraps says so.
CREATE OR REPLACE FUNCTION @schema@.vs_withhold(claims jsonb, entry text, code text, subjects bytea, codes text[])
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM @schema@.vs_entries e
    WHERE e.id = entry AND e.kind = 'seal' AND e.login = session_user AND e.leaf::jsonb -> 'jti' = claims -> 'jti';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM unnest(codes || code) AS c WHERE c !~ '^[a-z]+[.][a-z_]+$') THEN
        RAISE EXCEPTION 'not the code of a refusal';
    END IF;
    PERFORM @schema@.vsx_withhold(claims, entry, code, @schema@.vsx_ids(subjects), codes);
END
$$;
