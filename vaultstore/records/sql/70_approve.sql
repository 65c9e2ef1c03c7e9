-- Approvals of access requests: by somebody else, under a live grant of a purpose that may approve the one asked for.
CREATE OR REPLACE FUNCTION @schema@.vs_approve(claims jsonb, request text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    live record;
    asked record;
BEGIN
    SELECT * INTO live FROM @schema@.vsx_live(claims);
    IF live.code IS NULL THEN
        SELECT r.purpose, r.requested_by INTO asked FROM @schema@.vs_requests r
        WHERE r.id = request AND r.expires_at > clock_timestamp();
        live.code := CASE
            WHEN NOT FOUND THEN 'request.missing'
            WHEN NOT coalesce(live.closure -> 'approves' ? asked.purpose, false) THEN 'not.granted'
            WHEN asked.requested_by IS NOT DISTINCT FROM claims ->> 'actor' THEN 'request.own'
        END;
    END IF;
    IF live.code IS NOT NULL THEN
        RETURN @schema@.vsx_refuse(claims, 'approve', live.code, '{}', NULL, '{}', NULL);
    END IF;
    INSERT INTO @schema@.vs_approvals (request, approver, jti, approved_at)
    VALUES (vs_approve.request, claims ->> 'actor', claims ->> 'jti', clock_timestamp())
    ON CONFLICT DO NOTHING;
    RETURN jsonb_build_object('entry', @schema@.vsx_write(
        claims, gen_random_uuid()::text, 'approve', 'approved', '{}', NULL, '{}', request,
        ''::bytea, '{}', @schema@.vsx_root('{}')
    ));
END
$$;
