-- Upkeep of the categories' keys. Wraps go out to be wrapped anew, unseen, and come back; old versions are given up once
-- nothing needs them. All of it is for a live grant of a purpose that keeps keys, each verb for itself.
-- Entries have counts and no lines: no data key is shown, so nothing was done with the data of anybody.

-- The version of the category's key that a wrap is of, ``SCHEME:vN:...``; 0 for what is none. No regular expression, and
-- not STRICT, so that it is inlined: it is asked of every wrap of a category.
CREATE OR REPLACE FUNCTION @schema@.vsx_version(wrapped text) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN length(split_part(wrapped, ':', 2)) BETWEEN 2 AND 10 AND left(split_part(wrapped, ':', 2), 1) = 'v'
            AND translate(substr(split_part(wrapped, ':', 2), 2), '0123456789', '') = ''
        THEN substr(split_part(wrapped, ':', 2), 2)::int
        ELSE 0
    END
$$;

--@@ The code that refuses this verb of key upkeep, or NULL. `verb` NULL: any of them will do.
CREATE OR REPLACE FUNCTION @schema@.vsx_keeps(claims jsonb, verb text) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    live record;
BEGIN
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NOT NULL THEN
        RETURN live.code;
    END IF;
    IF NOT coalesce(
        CASE WHEN verb IS NULL THEN jsonb_array_length(live.closure -> 'keeps_keys') > 0
        ELSE live.closure -> 'keeps_keys' ? verb END, false
    ) THEN
        RETURN 'not.granted';
    END IF;
    RETURN @schema@.vsx_ready(claims, live.closure);
END
$$;

--@@ Audit that a category's key is about to get a new version. {"entry", "code"}
CREATE OR REPLACE FUNCTION @schema@.vs_rotate(claims jsonb, category text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    code text := @schema@.vsx_keeps(claims, 'rotate');
BEGIN
    IF code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'rotate', code, '{}', NULL, ARRAY[category], NULL);
    END IF;
    RETURN jsonb_build_object('entry', @schema@.vsx_write(
        claims, gen_random_uuid()::text, 'rotate', 'rotated', '{}', NULL, ARRAY[category], NULL,
        ''::bytea, '{}', @schema@.vsx_root('{}')
    ));
END
$$;

--@@ How the keys stand: {"wraps": [[category, version, how many live wraps]], "oldest": {category: version}, "code"};
-- `oldest` is the one that wraps may be of, where older ones were retired.
CREATE OR REPLACE FUNCTION @schema@.vs_key_state(claims jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    code text := @schema@.vsx_keeps(claims, NULL);
BEGIN
    IF code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'check', code, '{}', NULL, '{}', NULL);
    END IF;
    RETURN jsonb_build_object(
        'wraps', coalesce((
            SELECT jsonb_agg(jsonb_build_array(w.category, w.version, w.held) ORDER BY w.category, w.version)
            FROM (
                SELECT k.category, @schema@.vsx_version(k.wrapped) AS version, count(*) AS held
                FROM @schema@.vs_keyring k GROUP BY 1, 2
            ) AS w
        ), '[]'::jsonb),
        'oldest', coalesce((SELECT jsonb_object_agg(v.category, v.oldest) FROM @schema@.vs_key_versions v), '{}'::jsonb)
    );
END
$$;

--@@ Where to cut the wraps of versions before `newest` into `pieces`: {"cuts": [[last subject, how many]], "code"}.
CREATE OR REPLACE FUNCTION @schema@.vs_rewrap_ranges(claims jsonb, category text, newest int, pieces int) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    code text := @schema@.vsx_keeps(claims, 'rewrap');
BEGIN
    IF code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'rewrap', code, '{}', NULL, ARRAY[category], NULL);
    END IF;
    RETURN jsonb_build_object('cuts', coalesce((
        SELECT jsonb_agg(jsonb_build_array(replace(p.last::text, '-', ''), p.held) ORDER BY p.piece)
        FROM (
            SELECT d.piece, (array_agg(d.subject ORDER BY d.subject DESC))[1] AS last, count(*) AS held
            FROM (
                SELECT k.subject, ntile(pieces) OVER (ORDER BY k.subject) AS piece
                FROM @schema@.vs_keyring k
                WHERE k.category = vs_rewrap_ranges.category AND @schema@.vsx_version(k.wrapped) < newest
            ) AS d
            GROUP BY d.piece
        ) AS p
    ), '[]'::jsonb));
END
$$;

--@@ Audit that the next wraps of versions other than `newest` are to go out, at most `most` beyond one key and up to another:
-- {"entry", "keys": how many, "code"}. A bound is a subject, a scope and a key id; no `until`: to the last.
-- Which they are is written down with the entry, so that the hand-out, which somebody may roll back and repeat, has no
-- say in it. What is left over of earlier pages goes.
-- The settings keep to the primary key's order: a planner that does not know how few rows are wanted would read and sort
-- the whole table for each page.
CREATE OR REPLACE FUNCTION @schema@.vs_rewrap(
    claims jsonb, category text, newest int,
    after_subject uuid, after_scope bytea, after_key bigint, until_subject uuid, until_scope bytea, until_key bigint,
    most int
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    code text := coalesce(@schema@.vsx_keeps(claims, 'rewrap'), @schema@.vsx_unwitnessed());
    due_not text := 'v' || newest; -- cheaper than vsx_version; one of a later version comes back as it is
    page record;
    entry text;
BEGIN
    IF code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'rewrap', code, '{}', NULL, ARRAY[category], NULL);
    END IF;
    IF (most BETWEEN 1 AND 10000) IS NOT TRUE THEN
        RAISE EXCEPTION 'a page has 1 to 10000 wraps';
    END IF;
    WITH due AS MATERIALIZED (
        SELECT k.subject, k.scope, k.key_id FROM @schema@.vs_keyring k
        WHERE k.category = vs_rewrap.category AND k.subject >= after_subject
            AND (k.subject, k.scope, k.key_id) > (after_subject, after_scope, after_key)
            AND (until_subject IS NULL OR (k.subject, k.scope, k.key_id) <= (until_subject, until_scope, until_key))
            AND split_part(k.wrapped, ':', 2) <> due_not
        ORDER BY k.subject, k.scope, k.key_id
        LIMIT most
    )
    SELECT d.subject, d.scope, d.key_id, (SELECT count(*) FROM due) AS held INTO page FROM due d
    ORDER BY d.subject DESC, d.scope DESC, d.key_id DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN '{"entry": "", "keys": 0}'::jsonb;
    END IF;
    entry := @schema@.vsx_write(
        claims, gen_random_uuid()::text, 'rewrap', 'handed_out', jsonb_build_object('keys', page.held), NULL,
        ARRAY[category], NULL, ''::bytea, '{}', @schema@.vsx_root('{}')
    );
    DELETE FROM @schema@.vs_rewraps r WHERE r.made_at < clock_timestamp() - interval '1 hour';
    INSERT INTO @schema@.vs_rewraps (
        entry, category, newest, after_subject, after_scope, after_key, last_subject, last_scope, last_key, made_at
    )
    VALUES (
        entry, category, newest, after_subject, after_scope, after_key, page.subject, page.scope, page.key_id,
        clock_timestamp()
    );
    RETURN jsonb_build_object('entry', entry, 'keys', page.held);
END
$$;

--@@ The wraps that a committed entry of `vs_rewrap` stands for: {"rows": [[subject, scope, key id, wrap]], "code"}, in
-- the order of their keys. One that was erased or rewrapped since is not among them.
CREATE OR REPLACE FUNCTION @schema@.vs_rewrap_page(claims jsonb, entry text) RETURNS json
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    code text := @schema@.vsx_keeps(claims, 'rewrap');
    admitted record;
    page record;
    due_not text;
    most bigint;
BEGIN
    IF code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'rewrap', code, '{}', NULL, '{}', NULL)::json;
    END IF;
    SELECT * INTO admitted FROM @schema@.vsx_admitted(claims, entry, 'rewrap', 'handed_out');
    SELECT * INTO page FROM @schema@.vs_rewraps r WHERE r.entry = vs_rewrap_page.entry;
    IF admitted.leaf IS NULL OR page.entry IS NULL THEN
        RETURN '{"rows": []}'::json;
    END IF;
    due_not := 'v' || page.newest;
    most := (admitted.leaf -> 'counts' ->> 'keys')::bigint;
    RETURN json_build_object('rows', coalesce((
        SELECT json_agg(json_build_array(encode(uuid_send(d.subject), 'hex'), encode(d.scope, 'hex'), d.key_id, d.wrapped))
        FROM (
            SELECT k.subject, k.scope, k.key_id, k.wrapped FROM @schema@.vs_keyring k
            WHERE k.category = page.category AND k.subject >= page.after_subject AND k.subject <= page.last_subject
                AND (k.subject, k.scope, k.key_id) > (page.after_subject, page.after_scope, page.after_key)
                AND (k.subject, k.scope, k.key_id) <= (page.last_subject, page.last_scope, page.last_key)
                AND split_part(k.wrapped, ':', 2) <> due_not
            ORDER BY k.subject, k.scope, k.key_id
            LIMIT most
        ) AS d
    ), '[]'::json));
END
$$;

--@@ Put new wraps in the places of those that an entry handed out, each only where the old one still stands:
-- {"replaced": how many, "code"}. Key id, minting purpose and time stay. A wrap never goes back to an older version.
CREATE OR REPLACE FUNCTION @schema@.vs_rewrapped(
    claims jsonb, entry text, category text, subjects bytea, scopes bytea[], key_ids bigint[], old text[], new text[]
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    code text := @schema@.vsx_keeps(claims, 'rewrap');
    replaced int;
BEGIN
    IF code IS NULL AND NOT EXISTS (
        SELECT FROM @schema@.vs_entries e
        WHERE e.id = entry AND e.kind = 'rewrap' AND e.login = session_user
            AND e.leaf::jsonb -> 'jti' = claims -> 'jti' AND e.leaf::jsonb -> 'outcome' = '"handed_out"'
            AND e.leaf::jsonb -> 'categories' = jsonb_build_array(category)
    ) THEN
        code := 'not.granted';
    END IF;
    IF code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'rewrap', code, '{}', NULL, ARRAY[category], NULL);
    END IF;
    UPDATE @schema@.vs_keyring k SET wrapped = u.new
    FROM unnest(@schema@.vsx_ids(subjects), scopes, key_ids, old, new) AS u (id, scope, key_id, old, new)
    WHERE k.subject = u.id AND k.category = vs_rewrapped.category AND k.scope = u.scope AND k.key_id = u.key_id
        AND k.wrapped = u.old AND @schema@.vsx_version(u.new) > @schema@.vsx_version(u.old)
        AND split_part(u.new, ':', 1) = split_part(u.old, ':', 1);
    GET DIAGNOSTICS replaced = ROW_COUNT;
    DELETE FROM @schema@.vs_rewraps r WHERE r.entry = vs_rewrapped.entry;
    PERFORM @schema@.vsx_write(
        claims, entry || '.' || left(gen_random_uuid()::text, 8), 'rewrapped', 'rewrapped',
        jsonb_build_object('keys', cardinality(new), 'replaced', replaced), NULL, ARRAY[category], NULL,
        ''::bytea, '{}', @schema@.vsx_root('{}')
    );
    RETURN jsonb_build_object('replaced', replaced);
END
$$;

--@@ Whether a new wrap is of a version that was given up. The lock, which writers share until they end, lets a retirement
-- wait for all wraps that were taken before it.
CREATE OR REPLACE FUNCTION @schema@.vsx_stale(categories text[], wraps text[]) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF cardinality(wraps) = 0 THEN
        RETURN false;
    END IF;
    LOCK TABLE @schema@.vs_key_versions IN ROW SHARE MODE;
    RETURN EXISTS (
        SELECT FROM unnest(categories, wraps) AS u (category, wrapped)
        JOIN @schema@.vs_key_versions v ON v.category = u.category
        WHERE @schema@.vsx_version(u.wrapped) < v.oldest
    );
END
$$;

--@@ Take no wrap of a version before `oldest` any more, if no live one is left: {"entry"}, or {"older": {version: how
-- many}}, or {"busy": true} where writers hold it up, or {"code"}. The key service forgets those versions after this.
CREATE OR REPLACE FUNCTION @schema@.vs_retire(claims jsonb, category text, oldest int) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s'
AS $$
DECLARE
    code text := @schema@.vsx_keeps(claims, 'retire');
    older jsonb;
    held bigint;
BEGIN
    IF code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'retire', code, '{}', NULL, ARRAY[category], NULL);
    END IF;
    IF (oldest BETWEEN 1 AND 999999999) IS NOT TRUE THEN
        RAISE EXCEPTION 'versions count from 1';
    END IF;
    -- Once before the lock, so that nobody waits for what will be refused.
    FOR pass IN 1..2 LOOP
        SELECT jsonb_object_agg(w.version::text, w.held), sum(w.held) INTO older, held
        FROM (
            SELECT @schema@.vsx_version(k.wrapped) AS version, count(*) AS held FROM @schema@.vs_keyring k
            WHERE k.category = vs_retire.category AND @schema@.vsx_version(k.wrapped) < vs_retire.oldest
            GROUP BY 1
        ) AS w;
        IF older IS NOT NULL THEN
            RETURN jsonb_build_object('older', older) || @schema@.vsx_refuse(
                claims, 'retire', 'key.needed', jsonb_build_object('keys', held), NULL, ARRAY[category], NULL
            ) - 'code';
        END IF;
        IF pass = 1 THEN
            BEGIN
                LOCK TABLE @schema@.vs_key_versions IN EXCLUSIVE MODE;
            EXCEPTION WHEN lock_not_available THEN
                RETURN '{"busy": true}'::jsonb;
            END;
        END IF;
    END LOOP;
    INSERT INTO @schema@.vs_key_versions (category, oldest, retired_at)
    VALUES (vs_retire.category, vs_retire.oldest, clock_timestamp())
    ON CONFLICT ON CONSTRAINT pk_vs_key_versions DO UPDATE
    SET oldest = greatest(vs_key_versions.oldest, excluded.oldest), retired_at = excluded.retired_at;
    RETURN jsonb_build_object('entry', @schema@.vsx_write(
        claims, gen_random_uuid()::text, 'retire', 'retired', jsonb_build_object('oldest', vs_retire.oldest), NULL,
        ARRAY[vs_retire.category], NULL, ''::bytea, '{}', @schema@.vsx_root('{}')
    ));
END
$$;
