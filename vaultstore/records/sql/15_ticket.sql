-- Tickets: what a strict plane believes a token's claims by. The issuer has one made for each token; it covers every
-- claim, the key's name and the logins that may present it.

-- RFC 2104 with SHA-256.
CREATE OR REPLACE FUNCTION @schema@.vsx_hmac(key bytea, message bytea) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
AS $$
DECLARE
    inner_pad bytea := decode(repeat('36', 64), 'hex');
    outer_pad bytea := decode(repeat('5c', 64), 'hex');
    byte int;
BEGIN
    IF length(key) > 64 THEN
        key := sha256(key);
    END IF;
    FOR at IN 0..length(key) - 1 LOOP
        byte := get_byte(key, at);
        inner_pad := set_byte(inner_pad, at, byte # 54);
        outer_pad := set_byte(outer_pad, at, byte # 92);
    END LOOP;
    RETURN sha256(outer_pad || sha256(inner_pad || message));
END
$$;

--@@ The MAC of claims under the key `kid`, for these logins; NULL where there is no such key. jsonb writes its members
-- in an order of its own, so the text does not depend on how the claims were written.
CREATE OR REPLACE FUNCTION @schema@.vsx_ticket_mac(claims jsonb, kid jsonb, logins jsonb) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN (
        SELECT encode(@schema@.vsx_hmac(k.secret, convert_to(
            ((claims - 'ticket') || jsonb_build_object('kid', vsx_ticket_mac.kid, 'logins', vsx_ticket_mac.logins))::text, 'UTF8'
        )), 'hex')
        FROM @schema@.vs_ticket_keys k
        WHERE to_jsonb(k.kid::text) = vsx_ticket_mac.kid
    );
END
$$;

--@@ Add a ticket key, which makes all new tickets from now on; its name. Older keys verify until they are deleted.
-- 32 bytes out of 366 random bits that nobody stores: pgcrypto is not everywhere.
CREATE OR REPLACE FUNCTION @schema@.vsx_new_ticket_key() RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    name text := gen_random_uuid()::text;
BEGIN
    INSERT INTO @schema@.vs_ticket_keys (kid, secret, made_at)
    VALUES (
        name,
        sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
        clock_timestamp()
    );
    RETURN name;
END
$$;

--@@ A ticket for the claims of one token: {"kid", "logins", "mac"}, or NULL where the database has no key. For the
-- issuer alone: whoever may call this can be anybody to a strict plane.
CREATE OR REPLACE FUNCTION @schema@.vs_ticket(claims jsonb, logins text[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    newest text;
BEGIN
    IF jsonb_typeof(claims) IS DISTINCT FROM 'object' OR claims ->> 'exp' IS NULL OR claims ->> 'purpose' IS NULL THEN
        RAISE EXCEPTION 'a ticket is for the claims of a token';
    END IF;
    SELECT k.kid INTO newest FROM @schema@.vs_ticket_keys k ORDER BY k.made_at DESC, k.kid LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN jsonb_build_object('kid', newest, 'logins', to_jsonb(logins), 'mac', @schema@.vsx_ticket_mac(
        claims, to_jsonb(newest), to_jsonb(logins)
    ));
END
$$;

--@@ Whether the claims carry a ticket that verifies, is not over, and that this login may present.
-- Hashes of both MACs are compared: how far two of them agree tells nothing about the MACs.
CREATE OR REPLACE FUNCTION @schema@.vsx_ticket_holds(claims jsonb) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN coalesce(
        jsonb_typeof(claims) = 'object'
        AND jsonb_typeof(claims #> '{ticket,logins}') = 'array'
        AND claims #> '{ticket,logins}' ? session_user::text
        AND sha256(convert_to(claims #>> '{ticket,mac}', 'UTF8')) = sha256(convert_to(
            @schema@.vsx_ticket_mac(claims, claims #> '{ticket,kid}', claims #> '{ticket,logins}'), 'UTF8'
        ))
        -- Not now(): that stands still in a transaction that somebody keeps open.
        AND clock_timestamp() < (claims ->> 'exp')::timestamptz,
        false
    );
END
$$;

--@@ This transaction's claims, or NULL. They stand in a setting that anybody can set. In strict mode they count only
-- with their ticket, for the role of their purpose, and while that role or none is taken.
CREATE OR REPLACE FUNCTION @schema@.vs_context() RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    claims jsonb := NULLIF(current_setting('vaultstore.claims', true), '')::jsonb;
    role text;
BEGIN
    IF jsonb_typeof(claims) IS DISTINCT FROM 'object' THEN
        RETURN NULL;
    END IF;
    IF @schema@.vsx_strict() THEN
        role := @schema@.vsx_role(claims ->> 'purpose');
        IF role IS NULL OR current_setting('role') NOT IN ('none', role) OR NOT @schema@.vsx_ticket_holds(claims) THEN
            RETURN NULL;
        END IF;
    END IF;
    RETURN claims;
END
$$;

--@@ The role that this transaction's claims are for. A strict plane's policies ask whether it is theirs.
CREATE OR REPLACE FUNCTION @schema@.vs_role() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN @schema@.vsx_role(@schema@.vs_context() ->> 'purpose');
END
$$;

--@@ Who acts.
CREATE OR REPLACE FUNCTION @schema@.vs_actor() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN @schema@.vs_context() ->> 'actor';
END
$$;

--@@ A text as a UUID, NULL where it is none.
CREATE OR REPLACE FUNCTION @schema@.vsx_uuid(value text) RETURNS uuid
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
AS $$
BEGIN
    RETURN CASE WHEN replace(value, '-', '') ~ '^[0-9a-fA-F]{32}$' THEN replace(value, '-', '')::uuid END;
END
$$;

--@@ Who acts, where the actor's id is a UUID.
CREATE OR REPLACE FUNCTION @schema@.vs_actor_uuid() RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN @schema@.vsx_uuid(@schema@.vs_context() ->> 'actor');
END
$$;

--@@ The actor's role in the organisation.
CREATE OR REPLACE FUNCTION @schema@.vs_actor_role() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN @schema@.vs_context() ->> 'role';
END
$$;

--@@ An attribute of the actor.
CREATE OR REPLACE FUNCTION @schema@.vs_attribute(name text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN @schema@.vs_context() -> 'attributes' ->> name;
END
$$;

--@@ An attribute of the actor, where it is a UUID.
CREATE OR REPLACE FUNCTION @schema@.vs_attribute_uuid(name text) RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN @schema@.vsx_uuid(@schema@.vs_context() -> 'attributes' ->> name);
END
$$;
