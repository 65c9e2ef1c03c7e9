-- A subject's data keys replaced by new ones, in the transaction that seals the subject's rows under these.

-- Whether a live grant may replace the keys of this subject: the code that refuses it, or NULL. The closure that it is
-- decided by names no subject of itself, so the token has to.
CREATE OR REPLACE FUNCTION @schema@.vsx_may_rekey(claims jsonb, one uuid, OUT closure jsonb, OUT code text)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    live record;
BEGIN
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    closure := live.closure;
    code := live.code;
    IF code IS NOT NULL THEN
        RETURN;
    END IF;
    IF NOT coalesce((closure ->> 'replaces_keys')::boolean, false) THEN
        code := 'not.granted';
    ELSIF claims ->> 'subjects' IS NULL
        OR NOT EXISTS (SELECT FROM jsonb_array_elements_text(claims -> 'subjects') AS s WHERE s::uuid = one)
    THEN
        code := 'subject.not_named';
    ELSE
        code := @schema@.vsx_ready(claims, closure);
    END IF;
END
$$;

--@@ For which scopes and categories a subject has data keys: {"keys": [[scope in hex, category]], "code"}. No wrap is
-- among them.
CREATE OR REPLACE FUNCTION @schema@.vs_rekey_scopes(claims jsonb, subject bytea) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    one uuid := (@schema@.vsx_ids(subject))[1];
    may record;
BEGIN
    SELECT * INTO may FROM @schema@.vsx_may_rekey(claims, one);
    IF may.code IS NOT NULL THEN
        RETURN jsonb_build_object('code', may.code);
    END IF;
    RETURN jsonb_build_object('keys', coalesce((
        SELECT jsonb_agg(jsonb_build_array(encode(k.scope, 'hex'), k.category) ORDER BY k.scope, k.category)
        FROM (
            SELECT DISTINCT r.scope, r.category FROM @schema@.vs_keyring r WHERE r.subject = one
        ) AS k
    ), '[]'::jsonb));
END
$$;

--@@ Add one new key a category for a subject and scope, as vs_mint does under a committed admission, and destroy every
-- other that the subject has there. {"destroyed"} or what vs_mint refuses with.
-- The subject is locked first and for good: whoever sealed under an old key has committed, and the caller, who seals
-- the rows anew in this transaction, sees those rows; whoever wants to seal waits, and finds the old keys gone.
CREATE OR REPLACE FUNCTION @schema@.vs_rekeyed(
    claims jsonb, entry text, subject bytea, scope bytea, categories text[], key_ids bigint[], wraps text[]
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ids uuid[] := @schema@.vsx_ids(subject);
    n int := cardinality(categories);
    may record;
    counted record;
    told record;
    answer jsonb;
    gone int;
BEGIN
    IF length(subject) IS DISTINCT FROM 16 OR n = 0
        OR n <> (SELECT count(DISTINCT c) FROM unnest(categories) AS c)
        OR cardinality(key_ids) <> n OR cardinality(wraps) <> n
    THEN
        RAISE EXCEPTION 'keys are replaced for one subject, one new key a category';
    END IF;
    SELECT * INTO may FROM @schema@.vsx_may_rekey(claims, ids[1]);
    IF may.code IS NOT NULL THEN
        RETURN jsonb_build_object('code', may.code);
    END IF;
    PERFORM FROM @schema@.vs_subjects s WHERE s.subject = ids[1] FOR UPDATE;
    answer := @schema@.vs_mint(
        claims, entry, subject, categories, decode(repeat(encode(subject, 'hex'), n), 'hex'),
        array_fill(scope, ARRAY[n]), key_ids, wraps, '{}', ''::bytea, '{}', '{}'
    );
    IF answer <> '{}'::jsonb THEN
        RETURN answer;
    END IF;
    DELETE FROM @schema@.vs_keyring k
    WHERE k.subject = ids[1] AND k.scope = vs_rekeyed.scope AND k.category = ANY (categories)
        AND NOT EXISTS (
            SELECT FROM unnest(categories, key_ids) AS u (category, key_id)
            WHERE u.category = k.category AND u.key_id = k.key_id
        );
    GET DIAGNOSTICS gone = ROW_COUNT;
    SELECT * INTO counted FROM @schema@.vsx_number(ids);
    SELECT * INTO told FROM @schema@.vsx_lines(ids, counted.numbers, ARRAY['rekeyed'], ARRAY[false], categories);
    PERFORM @schema@.vsx_write(
        claims, entry || '.' || left(gen_random_uuid()::text, 8), 'rekey', 'rekeyed',
        jsonb_build_object('subjects', 1, 'keys', n, 'destroyed', gone), NULL, categories, NULL,
        told.lines, told.outcomes, told.root
    );
    RETURN jsonb_build_object('destroyed', gone);
END
$$;
