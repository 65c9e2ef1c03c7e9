-- Steps 1 to 3, shared by the verbs. Each statement sees what was committed before it (READ COMMITTED).

-- Step 1: the grant is live. Its closure, or the code that refuses it.
CREATE OR REPLACE FUNCTION @schema@.vsx_live(claims jsonb, OUT closure jsonb, OUT code text)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    issued timestamptz := coalesce((claims ->> 'iat')::timestamptz, '-infinity');
    plane jsonb := @schema@.vs_plane();
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the gate decides by what is committed: use READ COMMITTED';
    END IF;
    IF current_setting('synchronous_commit') = 'off' THEN
        RAISE EXCEPTION 'an audit entry must not vanish with the power: synchronous_commit is off';
    END IF;
    -- Not now(): that stands still in a transaction that somebody keeps open.
    IF NOT coalesce(clock_timestamp() < (claims ->> 'exp')::timestamptz, false) THEN
        code := 'token.expired';
        RETURN;
    END IF;
    -- Where the plane is applied, a login is served for its own purposes; where it is strict, by tickets.
    IF plane IS NOT NULL THEN
        IF @schema@.vsx_role(claims ->> 'purpose') IS NULL THEN
            code := 'login.not_served';
        ELSIF (plane ->> 'strict')::boolean AND NOT @schema@.vsx_ticket_holds(claims) THEN
            code := 'ticket.invalid';
        END IF;
        IF code IS NOT NULL THEN
            RETURN;
        END IF;
    END IF;
    IF EXISTS (SELECT FROM @schema@.vs_revocations r WHERE r.jti = claims ->> 'jti')
        OR EXISTS (SELECT FROM @schema@.vs_revocations r WHERE r.actor = claims ->> 'actor' AND r.before >= issued)
    THEN
        code := 'token.revoked';
        RETURN;
    END IF;
    SELECT p.closure::jsonb INTO closure FROM @schema@.vs_purposes p
    WHERE p.name = claims ->> 'purpose' AND p.digest = claims ->> 'pol'
        -- The token's signature covers the digest, and so the closure: one that was edited here decides nothing.
        AND p.digest = 'sha256:' || encode(sha256(convert_to(p.closure, 'UTF8')), 'hex');
    IF NOT FOUND THEN
        code := 'policy.changed';
    ELSIF NOT coalesce(closure -> 'roles' ? (claims ->> 'role'), false) THEN
        closure := NULL;
        code := 'not.granted';
    END IF;
END
$$;

--@@ Step 2, of the request as a whole: the code that refuses it, or NULL.
CREATE OR REPLACE FUNCTION @schema@.vsx_ready(claims jsonb, closure jsonb) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    requires jsonb := closure -> 'requires';
    asked_for text := '';
BEGIN
    IF claims ->> 'subjects' IS NULL THEN
        IF requires ->> 'subjects' IS NOT NULL THEN
            RETURN 'subject.not_named';
        END IF;
    ELSE
        SELECT encode(sha256(coalesce(string_agg(decode(s, 'hex'), ''::bytea ORDER BY s COLLATE "C"), ''::bytea)), 'hex')
        INTO asked_for
        FROM (SELECT DISTINCT s FROM jsonb_array_elements_text(claims -> 'subjects') AS s) AS named;
    END IF;
    IF (requires ->> 'case')::boolean THEN
        PERFORM FROM @schema@.vs_cases c
        WHERE c.id = claims ->> 'case' AND c.assigned_to = claims ->> 'actor' AND c.closed_at IS NULL
        FOR SHARE;
        IF NOT FOUND THEN
            RETURN 'case.missing';
        END IF;
    END IF;
    IF (requires ->> 'approvals')::int > 0 AND (requires ->> 'approvals')::int > coalesce((
        SELECT count(*)
        FROM @schema@.vs_requests r JOIN @schema@.vs_approvals a ON a.request = r.id
        WHERE r.requested_by = claims ->> 'actor' AND r.purpose = claims ->> 'purpose'
            AND r.case_id IS NOT DISTINCT FROM claims ->> 'case' AND r.subjects = asked_for
            AND r.expires_at > clock_timestamp() AND a.approver <> r.requested_by
        GROUP BY r.id ORDER BY count(*) DESC LIMIT 1
    ), 0) THEN
        RETURN 'approval.missing';
    END IF;
    RETURN NULL;
END
$$;

--@@ The code that refuses to disclose while the log's last witnessed checkpoint is too old, or NULL.
CREATE OR REPLACE FUNCTION @schema@.vsx_unwitnessed() RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    RETURN (
        SELECT 'log.unwitnessed' FROM @schema@.vs_log_rule r
        WHERE coalesce((
            SELECT c.witnessed_at FROM @schema@.vs_checkpoints c
            WHERE c.witnessed_at IS NOT NULL ORDER BY c.size DESC LIMIT 1
        ), '-infinity') <= clock_timestamp() - make_interval(secs => r.within)
    );
END
$$;

--@@ Lock the subjects in id order, give each its next line number, and say what state it is in.
-- The lock is weaker than FOR UPDATE, which erasure, restriction and withdrawal take, and does not wait for FOR KEY
-- SHARE, which a session that has written holds: it could be waiting for this very gate.
CREATE OR REPLACE FUNCTION @schema@.vsx_number(ids uuid[], OUT numbers bigint[], OUT states text[])
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    WITH locked AS MATERIALIZED (
        SELECT s.subject, s.number, s.state FROM @schema@.vs_subjects s
        WHERE s.subject = ANY (ids)
        ORDER BY s.subject
        FOR NO KEY UPDATE
    )
    SELECT
        coalesce(array_agg(CASE WHEN l.state <> 'erased' THEN l.number + 1 ELSE 0 END ORDER BY u.at), '{}'),
        coalesce(array_agg(l.state ORDER BY u.at), '{}')
    INTO numbers, states
    FROM unnest(ids) WITH ORDINALITY AS u (id, at) LEFT JOIN locked l ON l.subject = u.id;
    UPDATE @schema@.vs_subjects s SET number = s.number + 1 WHERE s.subject = ANY (ids) AND s.state <> 'erased';
END
$$;

--@@ The closure for a request for these categories: with the kinds of consent that they take of their own.
CREATE OR REPLACE FUNCTION @schema@.vsx_asking(closure jsonb, categories text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN closure -> 'requires' ? 'consents'
        THEN jsonb_set(closure, '{requires,kinds}', coalesce(
            (
                SELECT jsonb_agg(DISTINCT c.kind) FROM jsonb_each(closure #> '{requires,consents}') AS c (category, kind)
                WHERE c.category = ANY (categories)
            ),
            '[]'
        ))
        ELSE closure
    END
$$;

--@@ Step 2, subject by subject: the code that refuses each, or NULL. `strict`: a writer's view.
CREATE OR REPLACE FUNCTION @schema@.vsx_judge(claims jsonb, closure jsonb, ids uuid[], states text[], strict boolean)
RETURNS text[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    requires jsonb := closure -> 'requires';
    sees_restricted boolean := (requires ->> 'sees_restricted')::boolean AND NOT strict;
    sees_canaries boolean := coalesce((requires ->> 'sees_canaries')::boolean, false) OR strict;
    consents text[] := ARRAY(SELECT jsonb_array_elements_text(requires -> 'kinds')) -- see vsx_asking
        || array_remove(ARRAY[requires ->> 'consent'], NULL);
    by_case boolean := (requires ->> 'case')::boolean;
    names_any boolean := claims ->> 'subjects' IS NOT NULL;
    named uuid[];
BEGIN
    IF names_any THEN
        named := ARRAY(SELECT s::uuid FROM jsonb_array_elements_text(claims -> 'subjects') AS s);
    END IF;
    RETURN ARRAY(
        SELECT CASE
            WHEN names_any AND NOT EXISTS (SELECT FROM unnest(named) AS n WHERE n = u.id) THEN 'subject.not_named'
            WHEN u.state IS NULL THEN 'subject.unknown'
            WHEN u.state = 'erased' THEN 'subject.erased'
            WHEN u.state <> 'active' AND NOT sees_restricted THEN 'subject.restricted'
            WHEN NOT sees_canaries AND EXISTS (SELECT FROM @schema@.vs_canaries c WHERE c.subject = u.id)
            THEN 'subject.canary'
            WHEN cardinality(consents) > 0 AND EXISTS (
                SELECT FROM unnest(consents) AS k (kind)
                WHERE NOT EXISTS (
                    SELECT FROM @schema@.vs_consents c
                    WHERE c.subject = u.id AND c.kind = k.kind AND c.withdrawn_at IS NULL
                        AND c.granted_at <= clock_timestamp()
                )
            ) THEN 'consent.missing'
            WHEN by_case AND NOT EXISTS (
                SELECT FROM @schema@.vs_case_subjects c WHERE c.case_id = claims ->> 'case' AND c.subject = u.id
            ) THEN 'case.missing'
        END
        FROM unnest(ids, states) WITH ORDINALITY AS u (id, state, at)
        ORDER BY u.at
    );
END
$$;

--@@ The latest time that has fallen out of a window. A day includes its midnight; other windows are counted in seconds,
-- never in days, whose length would depend on the session's time zone.
CREATE OR REPLACE FUNCTION @schema@.vsx_since(per text, timezone text, moment timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE STRICT PARALLEL SAFE
AS $$
    SELECT CASE per
        WHEN 'day' THEN coalesce(
            -- Clocks that are set back over midnight show it twice: the day began at the first.
            (
                SELECT min(shown) FROM generate_series(midnight - interval '3 hours', midnight, '30 minutes') AS shown
                WHERE shown AT TIME ZONE timezone = local
            ),
            midnight
        ) - interval '1 microsecond'
        ELSE moment - make_interval(secs => left(per, -1)::int * CASE right(per, 1)
            WHEN 's' THEN 1 WHEN 'm' THEN 60 WHEN 'h' THEN 3600 WHEN 'd' THEN 86400 END)
    END
    FROM date_trunc('day', moment AT TIME ZONE timezone) AS local
    CROSS JOIN LATERAL (SELECT local AT TIME ZONE timezone AS midnight) AS shown_once
$$;

--@@ Step 3: charge `units`, each counting for `cost`, to every limit of the verb; those that do not fit, in which case
-- they are charged to none. The row lock on each window makes it exact; windows are taken in the closure's order.
-- `whose` holds the windows of limits by subject.
CREATE OR REPLACE FUNCTION @schema@.vsx_spend(
    claims jsonb, closure jsonb, verb text, units uuid[], cost int, whose text
) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    rule jsonb;
    period text;
    held_by text;
    since timestamptz;
    moment timestamptz;
    win bigint;
    taken bigint;
    fell bigint;
    windows bigint[] := '{}';
    rooms bigint[] := '{}';
    known int;
    fits boolean := true;
    wanted int[];
    one uuid;
    refused uuid[] := '{}';
BEGIN
    IF cost = 0 OR cardinality(units) = 0 THEN
        RETURN refused;
    END IF;
    FOR rule IN SELECT value FROM jsonb_array_elements(coalesce(closure -> 'limits' -> verb, '[]')) LOOP
        period := rule ->> 'per';
        held_by := CASE rule ->> 'by' WHEN 'actor' THEN claims ->> 'actor' WHEN 'subject' THEN whose ELSE '' END;
        INSERT INTO @schema@.vs_limits (purpose, verb, per, by, holder)
        VALUES (claims ->> 'purpose', vsx_spend.verb, period, rule ->> 'by', held_by)
        ON CONFLICT DO NOTHING;
        SELECT l.id, l.used INTO win, taken FROM @schema@.vs_limits l
        WHERE l.purpose = claims ->> 'purpose' AND l.verb = vsx_spend.verb AND l.per = period
            AND l.by = rule ->> 'by' AND l.holder = held_by
        FOR UPDATE;
        moment := clock_timestamp();
        since := @schema@.vsx_since(period, closure ->> 'timezone', moment);
        WITH gone AS (
            DELETE FROM @schema@.vs_charges c WHERE c.window_id = win AND c.charged_at <= since RETURNING c.units
        )
        SELECT coalesce(sum(g.units), 0) INTO fell FROM gone g;
        IF fell > 0 THEN
            taken := taken - fell;
            UPDATE @schema@.vs_limits l SET used = taken WHERE l.id = win;
        END IF;
        SELECT count(*) INTO known FROM @schema@.vs_charges c
        WHERE c.window_id = win AND c.unit = ANY (vsx_spend.units);
        windows := windows || win;
        rooms := rooms || ((rule ->> 'max')::bigint - taken);
        fits := fits AND (cardinality(units) - known) * cost::bigint <= (rule ->> 'max')::bigint - taken;
    END LOOP;
    IF cardinality(windows) = 0 THEN
        RETURN refused;
    END IF;
    moment := clock_timestamp();
    IF fits THEN
        FOREACH win IN ARRAY windows LOOP
            INSERT INTO @schema@.vs_charges (window_id, unit, units, charged_at)
            SELECT win, u, cost, moment FROM unnest(vsx_spend.units) AS u ORDER BY u
            ON CONFLICT DO NOTHING;
            GET DIAGNOSTICS known = ROW_COUNT;
            UPDATE @schema@.vs_limits l SET used = l.used + known * cost::bigint WHERE l.id = win;
        END LOOP;
        RETURN refused;
    END IF;
    -- Nearly spent: in the order asked, and only to whom every limit has room for.
    FOREACH one IN ARRAY vsx_spend.units LOOP
        wanted := ARRAY(
            SELECT at FROM unnest(windows) WITH ORDINALITY AS w (id, at)
            WHERE NOT EXISTS (
                SELECT FROM @schema@.vs_charges c WHERE c.window_id = w.id AND c.unit = one
            )
            ORDER BY at
        );
        IF EXISTS (SELECT FROM unnest(wanted) AS at WHERE rooms[at] < cost) THEN
            refused := refused || one;
        ELSE
            INSERT INTO @schema@.vs_charges (window_id, unit, units, charged_at)
            SELECT windows[at], one, cost, moment FROM unnest(wanted) AS at;
            UPDATE @schema@.vs_limits l SET used = l.used + cost
            WHERE l.id IN (SELECT windows[at] FROM unnest(wanted) AS at);
            rooms := ARRAY(
                SELECT CASE WHEN at = ANY (wanted) THEN room - cost ELSE room END
                FROM unnest(rooms) WITH ORDINALITY AS r (room, at)
                ORDER BY at
            );
        END IF;
    END LOOP;
    RETURN refused;
END
$$;

--@@ The entry that something is asked for under: of this kind, of this login and grant, committed, under a minute old.
-- In the transaction that made it, or after that was rolled back, there is none. `pairs` NULL: no key with a scope.
CREATE OR REPLACE FUNCTION @schema@.vsx_admitted(
    claims jsonb, entry text, kind text, outcome text, OUT leaf jsonb, OUT ids uuid[], OUT pairs bytea[]
)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    found_lines bytea;
    found_scopes bytea;
    at int;
BEGIN
    SELECT e.leaf::jsonb, e.lines, array_position(ARRAY(SELECT jsonb_array_elements_text(e.outcomes::jsonb)), outcome),
        e.scopes || ''::bytea -- read whole, once, and not piece by piece from where it is stored
    INTO leaf, found_lines, at, found_scopes
    FROM @schema@.vs_entries e
    WHERE e.id = entry AND e.kind = vsx_admitted.kind AND e.login = session_user
        AND e.actor = claims ->> 'actor'
        AND e.time > clock_timestamp() - interval '60 seconds'
        AND pg_xact_status(e.xid::text::xid8) = 'committed';
    IF NOT FOUND OR (leaf -> 'jti', leaf -> 'role', leaf -> 'purpose', leaf -> 'case')
        IS DISTINCT FROM (claims -> 'jti', claims -> 'role', claims -> 'purpose', claims -> 'case')
    THEN
        leaf := NULL;
        RETURN;
    END IF;
    ids := ARRAY(
        SELECT encode(substring(found_lines FROM line * 57 + 1 FOR 16), 'hex')::uuid
        FROM generate_series(0, length(found_lines) / 57 - 1) AS line
        WHERE get_byte(found_lines, line * 57 + 56) = at - 1
    );
    pairs := @schema@.vsx_pairs(found_scopes);
END
$$;

--@@ Audit that something which an entry admitted was refused after all. The new entry's id begins with that one's.
CREATE OR REPLACE FUNCTION @schema@.vsx_withhold(claims jsonb, entry text, code text, ids uuid[], codes text[])
RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    counted record;
    told record;
BEGIN
    SELECT * INTO counted FROM @schema@.vsx_number(ids);
    SELECT * INTO told FROM @schema@.vsx_lines(
        ids, counted.numbers, codes,
        ARRAY(SELECT coalesce(s = 'erased', false) FROM unnest(counted.states) WITH ORDINALITY AS t (s, at) ORDER BY at),
        '{}'
    );
    PERFORM @schema@.vsx_write(
        claims, entry || '.' || left(gen_random_uuid()::text, 8), 'withhold',
        coalesce('refused:' || code, @schema@.vsx_outcome(codes)), jsonb_build_object('subjects', cardinality(ids)),
        NULL, '{}', NULL, told.lines, told.outcomes, told.root
    );
END
$$;
