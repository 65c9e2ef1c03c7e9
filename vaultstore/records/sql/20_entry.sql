-- The audit entry: lines, their root, and the leaf.

-- One line a subject, with a new salt; of an erased subject neither id nor number nor salt is kept.
-- A salt is a hash of a seed of 366 random bits that nobody stores: pgcrypto is not everywhere.
CREATE OR REPLACE FUNCTION @schema@.vsx_lines(
    ids uuid[], numbers bigint[], told text[], erased boolean[], categories text[],
    OUT lines bytea, OUT outcomes text[], OUT root bytea
)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    seed bytea := uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid());
    joined bytea;
    tails bytea[];
    hashes bytea[];
BEGIN
    outcomes := ARRAY(
        SELECT o FROM unnest(told) WITH ORDINALITY AS t (o, at) GROUP BY o ORDER BY min(at)
    );
    SELECT convert_to(coalesce(string_agg(c, ',' ORDER BY c COLLATE "C"), ''), 'UTF8') INTO joined
    FROM (SELECT DISTINCT c FROM unnest(categories) AS c) AS sorted_categories;
    tails := ARRAY(
        SELECT @schema@.vsx_le64(length(joined)) || joined
            || @schema@.vsx_le64(octet_length(o)) || convert_to(o, 'UTF8')
        FROM unnest(outcomes) WITH ORDINALITY AS t (o, at)
        ORDER BY at
    );
    WITH parts AS MATERIALIZED (
        SELECT
            at,
            CASE WHEN gone THEN decode(repeat('00', 16), 'hex') ELSE uuid_send(id) END AS subject,
            CASE WHEN gone THEN decode(repeat('00', 32), 'hex') ELSE sha256(seed || int8send(at)) END AS salt,
            @schema@.vsx_le64(CASE WHEN gone THEN 0 ELSE number END) AS number,
            array_position(outcomes, outcome) AS outcome
        FROM unnest(ids, numbers, told, erased) WITH ORDINALITY AS u (id, number, outcome, gone, at)
    )
    SELECT
        coalesce(string_agg(
            subject || salt || number || set_byte('\x00'::bytea, 0, outcome - 1), ''::bytea ORDER BY at
        ), ''::bytea),
        array_agg(
            -- PAE(salt, subject, number, categories, outcome) behind RFC 6962's leaf byte.
            sha256(
                '\x0005000000000000002000000000000000'::bytea || salt || '\x1000000000000000'::bytea || subject
                || '\x0800000000000000'::bytea || number || tails[outcome]
            )
            ORDER BY at
        )
    INTO lines, hashes
    FROM parts;
    root := @schema@.vsx_root(hashes);
END
$$;

--@@ Add an entry: its leaf is RFC 8785 JSON, its names are in the order that form has.
CREATE OR REPLACE FUNCTION @schema@.vsx_write(
    claims jsonb, entry text, kind text, outcome text, counts jsonb, model text, categories text[], field text,
    lines bytea, outcomes text[], root bytea, scopes bytea DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    leaf text;
    number bigint;
BEGIN
    IF position(',' IN array_to_string(categories, '')) > 0 THEN
        RAISE EXCEPTION 'the name of a category has no comma';
    END IF;
    -- Anything else would make a leaf that nobody can verify, and with it the log behind it.
    IF array_position(categories, NULL) IS NOT NULL
        OR EXISTS (SELECT FROM jsonb_each(claims -> 'attributes') AS a (k, v) WHERE jsonb_typeof(v) <> 'string')
        OR EXISTS (SELECT FROM jsonb_each(counts) AS c (k, v) WHERE jsonb_typeof(v) <> 'number')
    THEN
        RAISE EXCEPTION 'an audit entry has texts for attributes and numbers for counts, none of them NULL';
    END IF;
    leaf := '{"actor":"' || @schema@.vsx_pseudonym(claims ->> 'actor') || '"'
        || ',"attributes":' || @schema@.vsx_object(claims -> 'attributes')
        || ',"case":' || coalesce(to_json(claims ->> 'case')::text, 'null')
        || ',"categories":' || @schema@.vsx_array(categories)
        || ',"counts":' || @schema@.vsx_object(counts)
        || coalesce(',"field":' || to_json(field)::text, '')
        || ',"id":' || to_json(entry)::text
        || ',"jti":' || to_json(claims ->> 'jti')::text
        || ',"kind":' || to_json(kind)::text
        || ',"model":' || coalesce(to_json(model)::text, 'null')
        || ',"outcome":' || to_json(outcome)::text
        || ',"purpose":' || to_json(claims ->> 'purpose')::text
        || ',"role":' || to_json(claims ->> 'role')::text
        || ',"subjects_root":"' || encode(root, 'hex')
        || '","time":"' || @schema@.vsx_time(moment)
        || '","v":1}';
    INSERT INTO @schema@.vs_entries (id, "time", kind, actor, leaf, lines, outcomes, scopes, xid, login)
    VALUES (
        entry, moment, kind, claims ->> 'actor', leaf, lines, to_json(outcomes)::text, scopes,
        pg_current_xact_id()::text::bigint, session_user
    )
    RETURNING seq INTO number;
    INSERT INTO @schema@.vs_pending (seq) VALUES (number);
    RETURN entry;
END
$$;

--@@ Audit the refusal of a whole request: an entry without lines.
CREATE OR REPLACE FUNCTION @schema@.vsx_refuse(
    claims jsonb, kind text, code text, counts jsonb, model text, categories text[], field text
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN jsonb_build_object('code', code, 'entry', @schema@.vsx_write(
        claims, gen_random_uuid()::text, kind, 'refused:' || code, counts, model, categories, field,
        ''::bytea, '{}', @schema@.vsx_root('{}')
    ));
END
$$;

--@@ The outcome of a request, from its subjects' refusal codes (NULL: admitted).
CREATE OR REPLACE FUNCTION @schema@.vsx_outcome(codes text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN count(code) = 0 THEN 'disclosed'
        WHEN count(code) < count(*) THEN 'partial'
        WHEN count(DISTINCT code) = 1 THEN 'refused:' || min(code)
        ELSE 'refused'
    END
    FROM unnest(codes) AS code
$$;

--@@ [index from 0, code] of those that were refused.
CREATE OR REPLACE FUNCTION @schema@.vsx_refusals(codes text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_array(at - 1, code) ORDER BY at), '[]'::jsonb)
    FROM unnest(codes) WITH ORDINALITY AS c (code, at)
    WHERE code IS NOT NULL
$$;
