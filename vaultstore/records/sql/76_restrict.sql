-- Restriction: subjects whose data rest, and the end of it. Whoever keeps states calls it; every change is audited, which
-- a service with rights on the table alone could leave out.

-- {"entry", "code" of a whole refusal, "refused": [[index of the subject, code]]}. `lifted`: back to active.
-- Under a token (`operator` NULL) its claims must be live, and of a purpose that may: privacy.request, or for a
-- restriction one with `subjects: self`. Else `operator` says who runs it, and subjects that are new are registered.
CREATE OR REPLACE FUNCTION @schema@.vs_restrict(
    claims jsonb, operator text, subjects bytea, lifted boolean, reason text
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ids uuid[] := @schema@.vsx_ids(subjects);
    n int := cardinality(ids);
    kind text := CASE WHEN lifted THEN 'lift' ELSE 'restrict' END;
    wanted text := CASE WHEN lifted THEN 'active' ELSE 'restricted' END;
    done text := CASE WHEN lifted THEN 'lifted' ELSE 'restricted' END;
    audited text := gen_random_uuid()::text;
    moment timestamptz;
    live record;
    counted record;
    told record;
    codes text[];
BEGIN
    IF n <> (SELECT count(DISTINCT id) FROM unnest(ids) AS id) THEN
        RAISE EXCEPTION 'subjects are named once each';
    END IF;
    IF operator IS NULL THEN
        SELECT * INTO live FROM @schema@.vsx_live(claims);
        IF live.code IS NULL THEN
            live.code := CASE
                WHEN claims ->> 'purpose' = 'privacy.request'
                    OR coalesce(live.closure -> 'requires' ->> 'subjects' = 'self' AND NOT lifted, false)
                THEN @schema@.vsx_ready(claims, live.closure)
                ELSE 'not.granted'
            END;
        END IF;
        IF live.code IS NOT NULL THEN
            RETURN @schema@.vsx_refuse(
                claims, kind, live.code, jsonb_build_object('subjects', n), NULL, '{}', NULL
            );
        END IF;
    ELSE
        claims := jsonb_build_object(
            'jti', 'operator', 'actor', operator, 'role', 'operator', 'attributes', '{}'::jsonb,
            'purpose', 'privacy.request', 'case', NULL
        );
        INSERT INTO @schema@.vs_subjects (subject, state, number, created_at, changed_at)
        SELECT u.id, 'active', 0, clock_timestamp(), clock_timestamp() FROM unnest(ids) AS u (id)
        ORDER BY u.id
        ON CONFLICT DO NOTHING;
    END IF;
    -- FOR UPDATE waits for sessions that have written, too.
    PERFORM FROM @schema@.vs_subjects s WHERE s.subject = ANY (ids) ORDER BY s.subject FOR UPDATE;
    SELECT * INTO counted FROM @schema@.vsx_number(ids);
    IF operator IS NULL THEN
        codes := @schema@.vsx_judge(claims, live.closure, ids, ARRAY(
            -- That it rests already is no reason to refuse its resting.
            SELECT CASE WHEN NOT lifted AND s = 'restricted' THEN 'active' ELSE s END
            FROM unnest(counted.states) WITH ORDINALITY AS t (s, at) ORDER BY at
        ), false);
    ELSE
        codes := ARRAY(
            SELECT CASE WHEN s = 'erased' THEN 'subject.erased' END
            FROM unnest(counted.states) WITH ORDINALITY AS t (s, at) ORDER BY at
        );
    END IF;
    moment := clock_timestamp();
    INSERT INTO @schema@.vs_states (subject, state, changed_at, reason, entry)
    SELECT u.id, wanted, moment, vs_restrict.reason, audited
    FROM unnest(ids, codes, counted.states) WITH ORDINALITY AS u (id, code, state, at)
    WHERE u.code IS NULL AND u.state <> wanted
    ORDER BY u.at;
    UPDATE @schema@.vs_subjects s SET state = wanted, changed_at = moment, reason = vs_restrict.reason
    FROM unnest(ids, codes) AS u (id, code)
    WHERE s.subject = u.id AND u.code IS NULL AND s.state <> wanted;
    SELECT * INTO told FROM @schema@.vsx_lines(
        ids, counted.numbers,
        ARRAY(SELECT coalesce(c, done) FROM unnest(codes) WITH ORDINALITY AS t (c, at) ORDER BY at),
        ARRAY(SELECT coalesce(s = 'erased', false) FROM unnest(counted.states) WITH ORDINALITY AS t (s, at) ORDER BY at),
        '{}'
    );
    PERFORM @schema@.vsx_write(
        claims, audited, kind,
        CASE WHEN array_position(codes, NULL) IS NOT NULL AND cardinality(array_remove(codes, NULL)) = 0
            THEN done ELSE @schema@.vsx_outcome(codes) END,
        jsonb_build_object('subjects', n, done, n - (SELECT count(c) FROM unnest(codes) AS c)),
        NULL, '{}', NULL, told.lines, told.outcomes, told.root
    );
    RETURN jsonb_build_object('entry', audited, 'refused', @schema@.vsx_refusals(codes));
END
$$;
