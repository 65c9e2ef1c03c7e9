-- erase: a subject's keys, rows and audit lines go in one transaction, and an act that a certificate is made from says
-- so. What open cases hold is left, for them alone, until they close.

-- States of subjects as the gate judges a disclosure: an erased one counts as active where everything that is asked of it
-- is held by the claims' own case, and that case is open and the actor's. `pairs` as in vsx_pair. Keys without a scope are
-- never held.
CREATE OR REPLACE FUNCTION @schema@.vsx_held(claims jsonb, closure jsonb, ids uuid[], states text[], pairs bytea[])
RETURNS text[]
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF NOT coalesce('erased' = ANY (states), false) OR NOT (closure -> 'requires' ->> 'case')::boolean
        OR NOT EXISTS (
            SELECT FROM @schema@.vs_cases c
            WHERE c.id = claims ->> 'case' AND c.assigned_to = claims ->> 'actor' AND c.closed_at IS NULL
        )
    THEN
        RETURN states;
    END IF;
    RETURN ARRAY(
        SELECT CASE
            WHEN u.state = 'erased' AND coalesce((
                SELECT bool_and(EXISTS (
                    SELECT FROM @schema@.vs_held h
                    WHERE h.subject = u.id AND h.case_id = claims ->> 'case'
                        AND @schema@.vsx_pair(h.subject, h.scope) = p.pair
                ))
                FROM unnest(pairs) AS p (pair)
                WHERE substring(p.pair FROM 1 FOR 16) = uuid_send(u.id)
            ), false)
            THEN 'active'
            ELSE u.state
        END
        FROM unnest(ids, states) WITH ORDINALITY AS u (id, state, at)
        ORDER BY u.at
    );
END
$$;

--@@ An entry's lines with those of a subject reduced to their hashes; an outcome that no line points to any more is
-- emptied. The root stays as it was: docs/formats/audit-leaf.md.
CREATE OR REPLACE FUNCTION @schema@.vsx_without(
    id uuid, lines bytea, outcomes text, categories jsonb, OUT kept bytea, OUT kept_outcomes text, OUT gone int
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
        SELECT at, line, get_byte(line, 56) AS outcome,
            substring(line FROM 1 FOR 16) = uuid_send(vsx_without.id) AND get_byte(line, 56) <> 255 AS mine
        FROM parts
    )
    SELECT
        coalesce(string_agg(CASE WHEN w.mine THEN
            decode(repeat('00', 16), 'hex')
            || sha256(
                '\x0005000000000000002000000000000000'::bytea || substring(w.line FROM 17 FOR 32)
                || '\x1000000000000000'::bytea || substring(w.line FROM 1 FOR 16)
                || '\x0800000000000000'::bytea || substring(w.line FROM 49 FOR 8)
                || @schema@.vsx_le64(length(joined)) || joined
                || @schema@.vsx_le64(octet_length(told[w.outcome + 1])) || convert_to(told[w.outcome + 1], 'UTF8')
            )
            || decode(repeat('00', 8), 'hex') || '\xff'::bytea
        ELSE w.line END, ''::bytea ORDER BY w.at), ''::bytea),
        to_json(ARRAY(
            SELECT CASE WHEN EXISTS (SELECT FROM whose o WHERE o.outcome = t.at - 1 AND NOT o.mine) THEN t.o ELSE '' END
            FROM unnest(told) WITH ORDINALITY AS t (o, at)
            ORDER BY t.at
        ))::text,
        count(*) FILTER (WHERE w.mine)
    INTO kept, kept_outcomes, gone
    FROM whose w;
END
$$;

--@@ Take a subject out of the audit log: lines, pairs of scopes, the index, and its name as an actor. Entries that wait
-- for their place are looked through too; the sequencer's own lock keeps it away meanwhile.
CREATE OR REPLACE FUNCTION @schema@.vsx_erase_log(id uuid, OUT entries int, OUT lines int, OUT acts int)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    found record;
    told record;
    pairs bytea;
BEGIN
    entries := 0;
    lines := 0;
    PERFORM pg_advisory_xact_lock(7238011945112001);
    FOR found IN
        SELECT e.seq, e.lines || ''::bytea AS lines, e.outcomes, e.leaf::jsonb -> 'categories' AS categories, e.scopes
        FROM @schema@.vs_entries e
        WHERE e.seq IN (
            SELECT s.entry FROM @schema@.vs_subject_entries s WHERE s.subject = vsx_erase_log.id
            UNION ALL
            SELECT p.seq FROM @schema@.vs_pending p JOIN @schema@.vs_entries w ON w.seq = p.seq
            WHERE position(uuid_send(vsx_erase_log.id) IN w.lines) > 0
        )
    LOOP
        SELECT * INTO told FROM @schema@.vsx_without(id, found.lines, found.outcomes, found.categories);
        SELECT string_agg(p.pair, ''::bytea ORDER BY p.at) INTO pairs
        FROM unnest(@schema@.vsx_pairs(found.scopes)) WITH ORDINALITY AS p (pair, at)
        WHERE substring(p.pair FROM 1 FOR 16) <> uuid_send(vsx_erase_log.id);
        CONTINUE WHEN told.gone = 0;
        UPDATE @schema@.vs_entries e
        SET lines = told.kept, outcomes = told.kept_outcomes,
            scopes = CASE WHEN found.scopes IS NOT NULL THEN coalesce(pairs, ''::bytea) END
        WHERE e.seq = found.seq;
        entries := entries + 1;
        lines := lines + told.gone;
    END LOOP;
    DELETE FROM @schema@.vs_subject_entries s WHERE s.subject = vsx_erase_log.id;
    UPDATE @schema@.vs_entries e SET actor = '' WHERE length(e.actor) = 36 AND e.actor = vsx_erase_log.id::text;
    GET DIAGNOSTICS acts = ROW_COUNT;
END
$$;

--@@ Run what the models declare, on the rows of a subject that no held scope keeps. The statements were published with
-- the policy; nobody but the owner writes them. They name tables of this schema, so it is in the path, behind the
-- catalog's.
CREATE OR REPLACE FUNCTION @schema@.vsx_erase_rows(id uuid, held uuid[]) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, @schema@, pg_temp
AS $$
DECLARE
    statement jsonb;
    touched bigint;
    done jsonb := '[]';
BEGIN
    -- What row-level security shows the owner: docs/adr/0023.
    PERFORM set_config('vaultstore.erasing', id::text, true);
    FOR statement IN
        SELECT s FROM @schema@.vs_erasure_rules r
        CROSS JOIN jsonb_array_elements(r.rules::jsonb -> 'statements') WITH ORDINALITY AS e (s, at)
        WHERE r.name = 'models' ORDER BY at
    LOOP
        EXECUTE statement ->> 'sql' USING id, held;
        GET DIAGNOSTICS touched = ROW_COUNT;
        done := done || (statement - 'sql' || jsonb_build_object('rows', touched));
    END LOOP;
    PERFORM set_config('vaultstore.erasing', '', true);
    RETURN done;
END
$$;

--@@ Lock what an erasure decides on; the subject's state, NULL where it is not registered. Cases first, as the gate and
-- their closing do.
CREATE OR REPLACE FUNCTION @schema@.vsx_erasing(id uuid) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    found text;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'an erasure decides by what is committed: use READ COMMITTED';
    END IF;
    PERFORM FROM @schema@.vs_cases c
    WHERE c.closed_at IS NULL
        AND c.id IN (SELECT k.case_id FROM @schema@.vs_case_scopes k WHERE k.subject = vsx_erasing.id)
    ORDER BY c.id
    FOR SHARE;
    SELECT s.state INTO found FROM @schema@.vs_subjects s WHERE s.subject = vsx_erasing.id FOR UPDATE;
    RETURN found;
END
$$;

--@@ Erase a subject that is locked and registered, or finish what was left of it. {"entry", "number", "new"}: the act
-- that says so, and whether this is it; or {"code"}. `closing` is the case whose end lets go of what it held.
-- `horizon` has the seconds that each kind of copy lives, NULL where nobody knows.
CREATE OR REPLACE FUNCTION @schema@.vsx_erase(
    claims jsonb, id uuid, reason text, horizon jsonb, rules text, closing text DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    known record;
    published record;
    kept jsonb := '{}';
    held bytea[];
    held_ids uuid[];
    still jsonb;
    keys jsonb;
    rows_done jsonb;
    log record;
    last bigint;
    body jsonb;
    entry text;
    act text;
BEGIN
    SELECT r.digest, r.rules::jsonb AS rules INTO published FROM @schema@.vs_erasure_rules r WHERE r.name = 'models';
    IF rules IS NOT NULL AND published.digest IS DISTINCT FROM rules THEN
        RETURN '{"code": "erasure.rules"}';
    END IF;
    kept := coalesce(published.rules - 'statements', '{}');
    SELECT e.number, e.entry INTO known FROM @schema@.vs_erasures e
    WHERE e.subject = vsx_erase.id ORDER BY e.number DESC LIMIT 1;
    IF known.number IS NULL THEN
        UPDATE @schema@.vs_subjects s SET state = 'erased', changed_at = moment, reason = vsx_erase.reason
        WHERE s.subject = vsx_erase.id AND s.state <> 'erased';
        INSERT INTO @schema@.vs_held (subject, scope, case_id)
        SELECT k.subject, k.scope, k.case_id
        FROM @schema@.vs_case_scopes k JOIN @schema@.vs_cases c ON c.id = k.case_id
        WHERE k.subject = vsx_erase.id AND c.closed_at IS NULL
        ON CONFLICT DO NOTHING;
    ELSE
        DELETE FROM @schema@.vs_held h USING @schema@.vs_cases c
        WHERE h.subject = vsx_erase.id AND c.id = h.case_id AND c.closed_at IS NOT NULL;
    END IF;
    held := ARRAY(SELECT DISTINCT h.scope FROM @schema@.vs_held h WHERE h.subject = vsx_erase.id);
    held_ids := ARRAY(SELECT encode(s, 'hex')::uuid FROM unnest(held) AS s WHERE length(s) = 16);
    WITH gone AS (
        DELETE FROM @schema@.vs_keyring k
        WHERE k.subject = vsx_erase.id AND NOT k.scope = ANY (held)
        RETURNING k.category, k.key_id
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object('category', g.category, 'count', g.n, 'ids', g.ids) ORDER BY g.category
        COLLATE "C"), '[]')
    INTO keys
    FROM (
        SELECT category, count(*) AS n, jsonb_agg(key_id ORDER BY key_id) AS ids FROM gone GROUP BY category
    ) AS g;
    rows_done := @schema@.vsx_erase_rows(id, held_ids);
    SELECT * INTO log FROM @schema@.vsx_erase_log(id);
    -- A charge keeps counting, and no longer says for whom.
    UPDATE @schema@.vs_charges c SET unit = gen_random_uuid()
    WHERE c.unit = vsx_erase.id AND c.window_id IN (SELECT l.id FROM @schema@.vs_limits l);
    DELETE FROM @schema@.vs_limits l WHERE length(l.holder) = 36 AND l.holder = vsx_erase.id::text;
    IF known.number IS NOT NULL AND closing IS NULL AND keys = '[]' AND log.lines = 0 AND log.acts = 0
        AND NOT EXISTS (
            SELECT FROM jsonb_array_elements(rows_done) AS r (s) WHERE s ->> 'act' = 'delete' AND (s ->> 'rows')::bigint > 0
        )
    THEN
        RETURN jsonb_build_object('entry', known.entry, 'number', known.number, 'new', false);
    END IF;
    SELECT coalesce(jsonb_agg(jsonb_build_object('case', h.case_id, 'scope', encode(h.scope, 'hex')::uuid,
        'keys', (SELECT count(*) FROM @schema@.vs_keyring k WHERE k.subject = h.subject AND k.scope = h.scope)
    ) ORDER BY h.scope, h.case_id COLLATE "C"), '[]')
    INTO still FROM @schema@.vs_held h WHERE h.subject = vsx_erase.id;
    SELECT s.number INTO last FROM @schema@.vs_subjects s WHERE s.subject = vsx_erase.id;
    act := CASE WHEN known.number IS NULL THEN 'erased' WHEN closing IS NOT NULL THEN 'released' ELSE 'again' END;
    body := jsonb_build_object(
        'format', 'vaultstore/erasure/v1',
        'act', act,
        'number', coalesce(known.number, 0) + 1,
        'subject', id,
        'at', @schema@.vsx_time(moment),
        'reason', reason,
        'case', closing,
        'nonce', gen_random_uuid(),
        'keys', keys,
        'held', still,
        'blanked', (SELECT coalesce(jsonb_agg(s - 'act' ORDER BY at), '[]')
            FROM jsonb_array_elements(rows_done) WITH ORDINALITY AS r (s, at) WHERE s ->> 'act' = 'blank'),
        'deleted', (SELECT coalesce(jsonb_agg(s - 'act' - 'columns' ORDER BY at), '[]')
            FROM jsonb_array_elements(rows_done) WITH ORDINALITY AS r (s, at) WHERE s ->> 'act' = 'delete'),
        'kept', coalesce(kept -> 'kept', '[]'),
        'not_declared', coalesce(kept -> 'not_declared', '[]'),
        'log', jsonb_build_object('entries', log.entries, 'lines', log.lines, 'acts', log.acts, 'last', last),
        'horizon', (
            SELECT coalesce(jsonb_object_agg(h.key, CASE
                WHEN jsonb_typeof(h.value) = 'number'
                THEN @schema@.vsx_time(moment + make_interval(secs => (h.value #>> '{}')::double precision))
            END), '{}')
            FROM jsonb_each(horizon) AS h
        )
    );
    entry := @schema@.vsx_write(
        claims, gen_random_uuid()::text, 'erase', act,
        jsonb_build_object('keys', (SELECT coalesce(sum((k ->> 'count')::bigint), 0) FROM jsonb_array_elements(keys) AS k)),
        NULL, '{}', 'sha256:' || encode(sha256(convert_to(body::text, 'UTF8')), 'hex'),
        ''::bytea, '{}', @schema@.vsx_root('{}')
    );
    UPDATE @schema@.vs_entries e SET actor = '' WHERE e.id = entry AND e.actor = vsx_erase.id::text;
    INSERT INTO @schema@.vs_erasures (subject, number, at, entry, body, finished)
    VALUES (id, coalesce(known.number, 0) + 1, moment, entry, body::text, true);
    IF known.number IS NULL THEN
        INSERT INTO @schema@.vs_states (subject, state, changed_at, reason, entry)
        VALUES (id, 'erased', moment, reason, entry);
    END IF;
    RETURN jsonb_build_object('entry', entry, 'number', coalesce(known.number, 0) + 1, 'new', true);
END
$$;

--@@ The answer to whoever had a subject erased: the acts, as the certificate will have them.
CREATE OR REPLACE FUNCTION @schema@.vsx_erased(id uuid, done jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN done || jsonb_build_object('acts', (
        SELECT jsonb_agg(jsonb_build_array(e.number, @schema@.vsx_time(e.at), e.entry, e.body) ORDER BY e.number)
        FROM @schema@.vs_erasures e WHERE e.subject = vsx_erased.id
    ));
END
$$;

--@@ Erase a subject under a grant: of privacy.erasure, or of a purpose whose tokens name the actor's own subject.
-- {"entry", "number", "new", "acts": [[number, time, entry, body]]}, or {"code", "entry"} of the refusal.
CREATE OR REPLACE FUNCTION @schema@.vs_erase(claims jsonb, subject uuid, reason text, horizon jsonb, rules text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    live record;
    state text;
    done jsonb;
BEGIN
    IF subject IS NULL OR reason IS NULL THEN
        RAISE EXCEPTION 'an erasure names a subject and a reason';
    END IF;
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NULL THEN
        live.code := CASE
            WHEN claims ->> 'purpose' = 'privacy.erasure' OR live.closure -> 'requires' ->> 'subjects' = 'self'
            THEN @schema@.vsx_ready(claims, live.closure)
            ELSE 'not.granted'
        END;
    END IF;
    IF live.code IS NULL THEN
        state := @schema@.vsx_erasing(subject);
        -- One that is erased already is erased again: that finishes what was left, and harms nothing.
        live.code := (@schema@.vsx_judge(
            claims, live.closure, ARRAY[subject], ARRAY[CASE state WHEN 'erased' THEN 'active' ELSE state END], false
        ))[1];
    END IF;
    IF live.code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'erase', live.code, '{}', NULL, '{}', NULL);
    END IF;
    done := @schema@.vsx_erase(claims, subject, reason, horizon, rules);
    RETURN @schema@.vsx_erased(subject, done);
END
$$;

--@@ The same for an operator, who owns the tables anyway. Granted to nobody.
CREATE OR REPLACE FUNCTION @schema@.vsx_erase_as_operator(
    operator text, subject uuid, reason text, horizon jsonb, rules text
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    done jsonb;
BEGIN
    INSERT INTO @schema@.vs_subjects (subject, state, number, created_at, changed_at)
    VALUES (vsx_erase_as_operator.subject, 'active', 0, clock_timestamp(), clock_timestamp())
    ON CONFLICT DO NOTHING;
    PERFORM @schema@.vsx_erasing(subject);
    done := @schema@.vsx_erase(@schema@.vsx_operator(operator, NULL), subject, reason, horizon, rules);
    RETURN @schema@.vsx_erased(subject, done);
END
$$;

--@@ What stands in the log for an operator, who has no token.
CREATE OR REPLACE FUNCTION @schema@.vsx_operator(operator text, at_case text) RETURNS jsonb
LANGUAGE sql IMMUTABLE
AS $$
    SELECT jsonb_build_object(
        'actor', operator, 'role', 'operator', 'attributes', '{}'::jsonb, 'purpose', 'privacy.erasure', 'jti', 'operator',
        'case', at_case
    )
$$;

--@@ Close a case. What it held of erased subjects goes now, unless another open case holds it too. For logins that keep
-- cases. {"released": [subject]}, or {"code"}.
CREATE OR REPLACE FUNCTION @schema@.vs_close_case(closed text, horizon jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    id uuid;
    released jsonb := '[]';
BEGIN
    UPDATE @schema@.vs_cases c SET closed_at = clock_timestamp() WHERE c.id = closed AND c.closed_at IS NULL;
    IF NOT FOUND THEN
        RETURN '{"code": "case.missing"}';
    END IF;
    FOR id IN SELECT DISTINCT h.subject FROM @schema@.vs_held h WHERE h.case_id = closed ORDER BY h.subject LOOP
        PERFORM @schema@.vsx_erasing(id);
        PERFORM @schema@.vsx_erase(
            @schema@.vsx_operator(session_user::text, closed), id, 'the case that held it was closed', horizon, NULL, closed
        );
        released := released || to_jsonb(id::text);
    END LOOP;
    RETURN jsonb_build_object('released', released);
END
$$;

--@@ Who may change states may restrict, and lift that; to and from `erased` takes the owner, and so the functions above.
CREATE OR REPLACE FUNCTION @schema@.vsx_erased_by_erasing() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF (TG_OP = 'INSERT' AND NEW.state = 'erased' OR TG_OP = 'UPDATE' AND (OLD.state = 'erased') <> (NEW.state = 'erased'))
        AND NOT EXISTS (
            SELECT FROM pg_roles r
            WHERE r.rolname = current_user
                AND (r.rolsuper OR r.oid = (SELECT c.relowner FROM pg_class c WHERE c.oid = TG_RELID))
        )
    THEN
        RAISE EXCEPTION USING MESSAGE = 'subjects are erased by vs_erase', ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;

--@@ The tables come with a later migration than these functions may: then it makes the trigger anew.
DO $$
BEGIN
    IF to_regclass('@schema@.vs_subjects') IS NOT NULL THEN
        CREATE OR REPLACE TRIGGER vs_subjects_erased BEFORE INSERT OR UPDATE ON @schema@.vs_subjects
            FOR EACH ROW EXECUTE FUNCTION @schema@.vsx_erased_by_erasing();
    END IF;
END
$$;
