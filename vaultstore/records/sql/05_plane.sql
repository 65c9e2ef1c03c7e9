-- The plane as its database states it, and the names of its roles.

-- {"prefix", "strict"}, or NULL where no plane is applied.
CREATE OR REPLACE FUNCTION @schema@.vs_plane() RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT jsonb_build_object('prefix', p.prefix, 'strict', p.strict) FROM @schema@.vs_plane p);
END
$$;

--@@ Whether the plane is applied and strict.
CREATE OR REPLACE FUNCTION @schema@.vsx_strict() RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN coalesce((SELECT p.strict FROM @schema@.vs_plane p), false);
END
$$;

--@@ The role of a purpose, where this login may take it; NULL where it may not, there is none, or no plane is applied.
-- A superuser may take every role.
CREATE OR REPLACE FUNCTION @schema@.vsx_role(purpose text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN (
        SELECT r.rolname::text FROM @schema@.vs_plane p JOIN pg_roles r ON r.rolname::text = p.prefix || 'p_' || purpose
        WHERE pg_has_role(session_user, r.oid, 'MEMBER')
    );
END
$$;
