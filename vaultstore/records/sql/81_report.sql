-- reports: a subject's own lines and leaves, for the member or a desk, and nothing of others.

-- Steps 1 and 2, and the entry that says that a report was made, or why not. What it shows is handed out for the
-- committed entry only. {"code", "entry", "last": the subject's last running number, "checkpoint": the newest note}
CREATE OR REPLACE FUNCTION @schema@.vs_report(claims jsonb, subject uuid) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    live record;
    requires jsonb;
    named boolean;
    counted record;
    told record;
    entry text;
BEGIN
    IF subject IS NULL THEN
        RAISE EXCEPTION 'a report is of somebody';
    END IF;
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'report', live.code, '{"subjects": 1}', NULL, '{}', NULL);
    END IF;
    requires := live.closure -> 'requires';
    named := EXISTS (
        SELECT FROM jsonb_array_elements_text(
            CASE jsonb_typeof(claims -> 'subjects') WHEN 'array' THEN claims -> 'subjects' ELSE '[]' END
        ) AS s WHERE s::uuid = vs_report.subject
    );
    SELECT * INTO counted FROM @schema@.vsx_number(ARRAY[subject]);
    live.code := CASE
        WHEN requires ->> 'subjects' IS DISTINCT FROM 'self' AND claims ->> 'purpose' <> 'privacy.request'
        THEN 'not.granted'
        WHEN (requires ->> 'subjects' IS NOT NULL OR claims ->> 'subjects' IS NOT NULL) AND NOT named
        THEN 'subject.not_named'
        WHEN (requires ->> 'case')::boolean AND NOT EXISTS (
            SELECT FROM @schema@.vs_cases c JOIN @schema@.vs_case_subjects s ON s.case_id = c.id
            WHERE c.id = claims ->> 'case' AND c.assigned_to = claims ->> 'actor' AND c.closed_at IS NULL
                AND s.subject = vs_report.subject
        ) THEN 'case.missing'
        WHEN counted.states[1] IS NULL THEN 'subject.unknown'
        WHEN counted.states[1] = 'erased' THEN 'subject.erased'
        WHEN counted.states[1] <> 'active' AND NOT (requires ->> 'sees_restricted')::boolean
        THEN 'subject.restricted'
    END;
    -- Nobody else's id and nothing of an erased one goes into the log by way of a refusal.
    SELECT * INTO told FROM @schema@.vsx_lines(
        ARRAY[subject], counted.numbers, ARRAY[coalesce(live.code, 'reported')],
        ARRAY[coalesce(counted.states[1] = 'erased', false)], '{}'
    );
    entry := @schema@.vsx_write(
        claims, gen_random_uuid()::text, 'report', coalesce('refused:' || live.code, 'reported'), '{"subjects": 1}',
        NULL, '{}', NULL, told.lines, told.outcomes, told.root
    );
    RETURN jsonb_build_object(
        'code', live.code, 'entry', entry, 'last', counted.numbers[1],
        'checkpoint', (SELECT c.note FROM @schema@.vs_checkpoints c ORDER BY c.size DESC LIMIT 1)
    );
END
$$;

--@@ An entry's lines with those of everybody but one subject reduced to their hashes, and only this one's outcomes.
CREATE OR REPLACE FUNCTION @schema@.vsx_only(
    id uuid, lines bytea, outcomes text, categories jsonb, OUT kept bytea, OUT kept_outcomes text
)
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    told text[] := ARRAY(SELECT o FROM jsonb_array_elements_text(outcomes::jsonb) WITH ORDINALITY AS t (o, at) ORDER BY at);
    joined bytea;
BEGIN
    SELECT convert_to(coalesce(string_agg(c, ',' ORDER BY c COLLATE "C"), ''), 'UTF8') INTO joined
    FROM jsonb_array_elements_text(categories) AS c;
    WITH parts AS MATERIALIZED (
        SELECT at, substring(lines FROM at * 57 + 1 FOR 57) AS line
        FROM generate_series(0, length(lines) / 57 - 1) AS at
    ), whose AS MATERIALIZED (
        SELECT at, line, get_byte(line, 56) AS outcome, substring(line FROM 1 FOR 16) = uuid_send(vsx_only.id) AS mine
        FROM parts
    )
    SELECT
        coalesce(string_agg(CASE WHEN w.mine OR w.outcome = 255 THEN w.line ELSE
            decode(repeat('00', 16), 'hex')
            || sha256(
                '\x0005000000000000002000000000000000'::bytea || substring(w.line FROM 17 FOR 32)
                || '\x1000000000000000'::bytea || substring(w.line FROM 1 FOR 16)
                || '\x0800000000000000'::bytea || substring(w.line FROM 49 FOR 8)
                || @schema@.vsx_le64(length(joined)) || joined
                || @schema@.vsx_le64(octet_length(told[w.outcome + 1])) || convert_to(told[w.outcome + 1], 'UTF8')
            )
            || decode(repeat('00', 8), 'hex') || '\xff'::bytea
        END, ''::bytea ORDER BY w.at), ''::bytea),
        to_json(ARRAY(
            SELECT CASE WHEN EXISTS (SELECT FROM whose o WHERE o.outcome = t.at - 1 AND o.mine) THEN t.o ELSE '' END
            FROM unnest(told) WITH ORDINALITY AS t (o, at)
            ORDER BY t.at
        ))::text
    INTO kept, kept_outcomes
    FROM whose w;
END
$$;

--@@ Whose report a committed entry is, under a live grant: the subject, or NULL.
CREATE OR REPLACE FUNCTION @schema@.vsx_reported(claims jsonb, entry text) RETURNS uuid
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    live record;
    admitted record;
BEGIN
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NOT NULL THEN
        RETURN NULL;
    END IF;
    SELECT * INTO admitted FROM @schema@.vsx_admitted(claims, entry, 'report', 'reported');
    RETURN CASE WHEN admitted.leaf ->> 'outcome' = 'reported' AND cardinality(admitted.ids) = 1 THEN admitted.ids[1] END;
END
$$;

--@@ The next of the subject's own entries after `after`, up to 500: [[seq, leaf, lines in hex, outcomes, position]], or
-- NULL where `entry` made no report of this grant and login.
CREATE OR REPLACE FUNCTION @schema@.vs_report_lines(claims jsonb, entry text, after bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    whose uuid := @schema@.vsx_reported(claims, entry);
BEGIN
    IF whose IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT coalesce(jsonb_agg(
            jsonb_build_array(f.seq, f.leaf, encode(o.kept, 'hex'), o.kept_outcomes, f.position) ORDER BY f.seq
        ), '[]')
        FROM (
            SELECT e.seq, e.leaf, e.lines, e.outcomes, l.position
            FROM @schema@.vs_entries e LEFT JOIN @schema@.vs_log l ON l.entry = e.seq
            WHERE e.seq > after AND position(uuid_send(whose) IN e.lines) > 0 AND e.seq IN (
                SELECT s.entry FROM @schema@.vs_subject_entries s WHERE s.subject = whose
                UNION ALL
                SELECT p.seq FROM @schema@.vs_pending p
            )
            ORDER BY e.seq LIMIT 500
        ) AS f
        CROSS JOIN LATERAL @schema@.vsx_only(whose, f.lines, f.outcomes, f.leaf::jsonb -> 'categories') AS o
    );
END
$$;

--@@ Hashes of the log's tree: [[position, in hex]] of rows, or NULL as above. They are salted, and say nothing of anybody.
CREATE OR REPLACE FUNCTION @schema@.vs_report_nodes(claims jsonb, entry text, places bigint[]) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF @schema@.vsx_reported(claims, entry) IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT coalesce(jsonb_agg(jsonb_build_array(l.position, encode(l.nodes, 'hex'))), '[]')
        FROM @schema@.vs_log l WHERE l.position = ANY (places)
    );
END
$$;
