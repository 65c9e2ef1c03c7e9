-- disclose: admission, and the hand-out of wraps. These and the functions of the other verbs are all that a role needs
-- to reach; each runs with its owner's rights, and decides by nothing that the caller says but who it is.

-- Step 1 only.
CREATE OR REPLACE FUNCTION @schema@.vs_check(claims jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    live record;
BEGIN
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'check', live.code, '{}', NULL, '{}', NULL);
    END IF;
    RETURN '{"entry": ""}'::jsonb;
END
$$;

--@@ Steps 1 to 4. {"entry", "code" of a whole refusal, "refused": [[index of the subject, code]]}
-- `scopes` are the pairs of subject and scope that are asked for, each 33 bytes, see vsx_pair; those of admitted subjects
-- are kept. NULL or empty: only keys without a scope are asked for.
CREATE OR REPLACE FUNCTION @schema@.vs_admit(
    claims jsonb, model text, categories text[], subjects bytea, scopes bytea DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ids uuid[] := @schema@.vsx_ids(subjects);
    n int := cardinality(ids);
    live record;
    counted record;
    told record;
    states text[];
    codes text[];
    units uuid[];
    over uuid[];
    named bytea;
    entry text;
BEGIN
    IF n <> (SELECT count(DISTINCT id) FROM unnest(ids) AS id) THEN
        RAISE EXCEPTION 'subjects are asked for once each';
    END IF;
    IF mod(length(scopes), 33) <> 0 THEN
        RAISE EXCEPTION 'a subject and a scope are 33 bytes';
    END IF;
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NULL THEN
        live.code := CASE
            WHEN cardinality(categories) > 0 AND coalesce(live.closure -> 'read' -> model ?& categories, false)
            THEN coalesce(@schema@.vsx_ready(claims, live.closure), @schema@.vsx_unwitnessed())
            ELSE 'not.granted'
        END;
    END IF;
    IF live.code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(
            claims, 'disclose', live.code, jsonb_build_object('subjects', n), model, categories, NULL
        );
    END IF;
    SELECT * INTO counted FROM @schema@.vsx_number(ids);
    -- Whom an erasure left something of, for this very case, is judged and written down like anybody else.
    states := @schema@.vsx_held(claims, live.closure, ids, counted.states, @schema@.vsx_pairs(scopes));
    codes := @schema@.vsx_judge(claims, @schema@.vsx_asking(live.closure, categories), ids, states, false);
    units := ARRAY(SELECT u.id FROM unnest(ids, codes) WITH ORDINALITY AS u (id, code, at) WHERE code IS NULL ORDER BY at);
    over := @schema@.vsx_spend(claims, live.closure, 'disclose', units, 1, '');
    IF cardinality(over) > 0 THEN
        codes := ARRAY(
            SELECT coalesce(u.code, CASE WHEN u.id = ANY (over) THEN 'budget.exhausted' END)
            FROM unnest(ids, codes) WITH ORDINALITY AS u (id, code, at)
            ORDER BY at
        );
    END IF;
    SELECT * INTO told FROM @schema@.vsx_lines(
        ids, counted.numbers,
        ARRAY(SELECT coalesce(c, 'disclosed') FROM unnest(codes) WITH ORDINALITY AS t (c, at) ORDER BY at),
        ARRAY(SELECT coalesce(s = 'erased', false) FROM unnest(states) WITH ORDINALITY AS t (s, at) ORDER BY at),
        categories
    );
    IF length(scopes) > 0 THEN
        SELECT coalesce(string_agg(p.pair, ''::bytea ORDER BY p.first), ''::bytea) INTO named
        FROM (
            SELECT pair, min(at) AS first FROM unnest(@schema@.vsx_pairs(scopes)) WITH ORDINALITY AS u (pair, at)
            GROUP BY pair
        ) AS p
        JOIN unnest(ids, codes) AS u (id, code) ON uuid_send(u.id) = substring(p.pair FROM 1 FOR 16) AND u.code IS NULL;
    END IF;
    entry := @schema@.vsx_write(
        claims, gen_random_uuid()::text, 'disclose', @schema@.vsx_outcome(codes),
        jsonb_build_object('subjects', n, 'disclosed', n - (SELECT count(c) FROM unnest(codes) AS c)),
        model, categories, NULL, told.lines, told.outcomes, told.root, named
    );
    RETURN jsonb_build_object('entry', entry, 'refused', @schema@.vsx_refusals(codes));
END
$$;

--@@ Wraps for what a committed entry admitted, unless something changed since.
-- {"wraps": [[index, wrap, minted by this purpose]], "refused": [[index, code]], "code"}; indexes into the references.
-- Who is asked for in a category or a scope that was not admitted is withheld altogether.
-- The keyring is read before the states, so that a subject erased in between is told as such. What is withheld is
-- audited here: the caller, who may have had the wraps a moment ago, is not the one to say so.
CREATE OR REPLACE FUNCTION @schema@.vs_wraps(
    claims jsonb, entry text, categories text[], subjects bytea, scopes bytea[], key_ids bigint[]
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    asked uuid[] := @schema@.vsx_ids(subjects);
    admitted record;
    live record;
    wraps text[];
    own boolean[];
    beyond boolean[];
    codes text[];
    whom uuid[];
    reasons text[];
BEGIN
    SELECT * INTO admitted FROM @schema@.vsx_admitted(claims, entry, 'disclose', 'disclosed');
    IF admitted.leaf IS NULL THEN
        RETURN '{"wraps": []}'::jsonb;
    END IF;
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NOT NULL THEN
        PERFORM @schema@.vsx_withhold(claims, entry, live.code, '{}', '{}');
        RETURN jsonb_build_object('wraps', '[]'::jsonb, 'code', live.code);
    END IF;
    WITH refs AS MATERIALIZED (
        SELECT
            u.*, a.id IS NOT NULL AS known,
            a.id IS NOT NULL AND coalesce(
                admitted.leaf -> 'categories' ? u.category
                AND CASE WHEN admitted.pairs IS NULL THEN length(u.scope) = 0 ELSE p.pair IS NOT NULL END,
                false
            ) AS covered
        FROM unnest(asked, categories, scopes, key_ids) WITH ORDINALITY AS u (id, category, scope, key_id, at)
        LEFT JOIN unnest(admitted.ids) AS a (id) ON a.id = u.id
        LEFT JOIN unnest(admitted.pairs) AS p (pair) ON p.pair = @schema@.vsx_pair(u.id, u.scope)
    )
    SELECT
        array_agg(k.wrapped ORDER BY r.at), array_agg(k.minted_by = claims ->> 'purpose' ORDER BY r.at),
        array_agg(r.known AND NOT r.covered ORDER BY r.at)
    INTO wraps, own, beyond
    FROM refs r
    LEFT JOIN @schema@.vs_keyring k
        ON k.subject = r.id AND k.category = r.category AND k.scope = r.scope AND k.key_id = r.key_id AND r.covered;
    codes := @schema@.vsx_judge(claims, @schema@.vsx_asking(live.closure, categories), asked, @schema@.vsx_held(claims, live.closure, asked, ARRAY(
        SELECT s.state FROM unnest(asked) WITH ORDINALITY AS u (id, at)
        LEFT JOIN @schema@.vs_subjects s ON s.subject = u.id
        ORDER BY at
    ), ARRAY(SELECT @schema@.vsx_pair(u.id, u.scope) FROM unnest(asked, scopes) AS u (id, scope))), false);
    IF true = ANY (beyond) THEN
        codes := ARRAY(
            SELECT coalesce(u.code, CASE WHEN bool_or(u.more) OVER (PARTITION BY u.id) THEN 'not.admitted' END)
            FROM unnest(asked, codes, beyond) WITH ORDINALITY AS u (id, code, more, at)
            ORDER BY u.at
        );
    END IF;
    SELECT array_agg(w.id ORDER BY w.first), array_agg(w.code ORDER BY w.first) INTO whom, reasons
    FROM (
        SELECT u.id, u.code, min(u.at) AS first FROM unnest(asked, codes) WITH ORDINALITY AS u (id, code, at)
        WHERE u.code IS NOT NULL
            -- Of one who was erased since, the entry no longer says that it admitted them.
            AND (u.code = 'subject.erased' OR EXISTS (SELECT FROM unnest(admitted.ids) AS a (id) WHERE a.id = u.id))
        GROUP BY u.id, u.code
    ) AS w;
    IF whom IS NOT NULL THEN
        PERFORM @schema@.vsx_withhold(claims, entry, NULL, whom, reasons);
    END IF;
    RETURN jsonb_build_object(
        'refused', @schema@.vsx_refusals(codes),
        'wraps', coalesce((
            SELECT jsonb_agg(jsonb_build_array(at - 1, w, o) ORDER BY at)
            FROM unnest(wraps, own, codes) WITH ORDINALITY AS u (w, o, code, at)
            WHERE w IS NOT NULL AND code IS NULL
        ), '[]'::jsonb)
    );
END
$$;
