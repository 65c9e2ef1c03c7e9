-- charge: an act on one subject that is counted and opens nothing: a claim, a reassignment, a call or text.

-- Steps 1 to 4. `verb` is one that the purpose has limits for; `unit` is what is counted, `whose` the holder of limits
-- by subject: not the subject's id, where a person must not be rid of a count by registering anew.
CREATE OR REPLACE FUNCTION @schema@.vs_charge(
    claims jsonb, verb text, model text, subject bytea, unit bytea, whose text
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ids uuid[] := @schema@.vsx_ids(subject);
    live record;
    counted record;
    told record;
    codes text[];
    entry text;
BEGIN
    IF cardinality(ids) <> 1 OR length(unit) <> 16 THEN
        RAISE EXCEPTION 'one subject is counted at a time';
    END IF;
    IF verb NOT IN ('claim', 'assign', 'contact') THEN
        RAISE EXCEPTION 'not an act that is counted';
    END IF;
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NULL THEN
        live.code := CASE
            WHEN coalesce(jsonb_array_length(live.closure -> 'limits' -> verb) > 0, false)
                AND coalesce(live.closure -> 'read' ? model, false)
            THEN @schema@.vsx_ready(claims, live.closure)
            ELSE 'not.granted'
        END;
    END IF;
    IF live.code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, verb, live.code, '{"subjects": 1}', model, '{}', NULL);
    END IF;
    SELECT * INTO counted FROM @schema@.vsx_number(ids);
    codes := @schema@.vsx_judge(claims, live.closure, ids, counted.states, false);
    IF codes[1] IS NULL
        AND cardinality(@schema@.vsx_spend(
            claims, live.closure, verb, @schema@.vsx_ids(unit), 1, whose
        )) > 0
    THEN
        codes := ARRAY['budget.exhausted'];
    END IF;
    SELECT * INTO told FROM @schema@.vsx_lines(
        ids, counted.numbers, ARRAY[coalesce(codes[1], 'counted')],
        ARRAY[coalesce(counted.states[1] = 'erased', false)], '{}'
    );
    entry := @schema@.vsx_write(
        claims, gen_random_uuid()::text, verb, coalesce('refused:' || codes[1], 'counted'),
        jsonb_build_object('subjects', 1, 'counted', CASE WHEN codes[1] IS NULL THEN 1 ELSE 0 END),
        model, '{}', NULL, told.lines, told.outcomes, told.root
    );
    RETURN jsonb_build_object('entry', entry, 'refused', @schema@.vsx_refusals(codes));
END
$$;
