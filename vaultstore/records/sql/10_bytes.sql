-- Bytes and text, exactly as vaultstore.canonical, vaultstore.merkle and vaultstore.audit write them.

CREATE OR REPLACE FUNCTION @schema@.vsx_le64(n bigint) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT substring(int8send(n) FROM 8 FOR 1) || substring(int8send(n) FROM 7 FOR 1)
        || substring(int8send(n) FROM 6 FOR 1) || substring(int8send(n) FROM 5 FOR 1)
        || substring(int8send(n) FROM 4 FOR 1) || substring(int8send(n) FROM 3 FOR 1)
        || substring(int8send(n) FROM 2 FOR 1) || substring(int8send(n) FROM 1 FOR 1)
$$;

--@@ 16 bytes a subject, one after the other.
CREATE OR REPLACE FUNCTION @schema@.vsx_ids(packed bytea) RETURNS uuid[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT ARRAY(
        SELECT encode(substring(packed FROM at FOR 16), 'hex')::uuid
        FROM generate_series(1, length(packed), 16) AS at
        ORDER BY at
    )
$$;

--@@ A key's subject and scope in 33 bytes: 1 before a scope, 0 and zeros where there is none. Not STRICT, so that it is
-- inlined.
CREATE OR REPLACE FUNCTION @schema@.vsx_pair(subject uuid, scope bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT uuid_send(subject)
        || CASE WHEN length(scope) = 0 THEN decode(repeat('00', 17), 'hex') ELSE '\x01'::bytea || scope END
$$;

--@@ Such pairs, one after the other.
CREATE OR REPLACE FUNCTION @schema@.vsx_pairs(packed bytea) RETURNS bytea[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT ARRAY(
        SELECT substring(packed FROM at FOR 33) FROM generate_series(1, length(packed), 33) AS at ORDER BY at
    )
$$;

--@@ RFC 3339, UTC, microseconds.
CREATE OR REPLACE FUNCTION @schema@.vsx_time(moment timestamptz) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
AS $$
    SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

--@@ A key that COLLATE "C" sorts as RFC 8785 section 3.2.3 wants names sorted: by UTF-16 code units.
-- There the characters beyond U+FFFF, written as surrogates, come before U+E000.
CREATE OR REPLACE FUNCTION @schema@.vsx_utf16_order(name text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT CASE WHEN octet_length(name) = length(name) THEN name ELSE (
        SELECT string_agg(
            CASE WHEN ascii(c) > 65535 THEN chr(57344) || c WHEN ascii(c) >= 57344 THEN chr(57345) || c ELSE c END,
            '' ORDER BY at
        )
        FROM regexp_split_to_table(name, '') WITH ORDINALITY AS parts (c, at)
    ) END
$$;

--@@ A flat JSON object of texts and integers in the form of RFC 8785.
CREATE OR REPLACE FUNCTION @schema@.vsx_object(content jsonb) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT '{' || coalesce(string_agg(
        to_json(key)::text || ':' || value::text, ',' ORDER BY @schema@.vsx_utf16_order(key) COLLATE "C"
    ), '') || '}'
    FROM jsonb_each(content)
$$;

--@@ Texts, sorted and distinct, as a JSON array.
CREATE OR REPLACE FUNCTION @schema@.vsx_array(items text[]) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT '[' || coalesce(string_agg(to_json(item)::text, ',' ORDER BY item COLLATE "C"), '') || ']'
    FROM (SELECT DISTINCT item FROM unnest(items) AS item) AS distinct_items
$$;

--@@ RFC 6962 section 2.1 root over leaf hashes. Pairing level by level, an odd last one going up as it is, gives the
-- same tree as splitting at the largest power of two.
CREATE OR REPLACE FUNCTION @schema@.vsx_root(hashes bytea[]) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    n int := coalesce(cardinality(hashes), 0);
    pairs int;
BEGIN
    IF n = 0 THEN
        RETURN sha256(''::bytea);
    END IF;
    -- In place: element by element is three times as fast here as a query for each level.
    WHILE n > 1 LOOP
        pairs := n / 2;
        FOR i IN 1..pairs LOOP
            hashes[i] := sha256('\x01'::bytea || hashes[2 * i - 1] || hashes[2 * i]);
        END LOOP;
        IF n > 2 * pairs THEN
            hashes[pairs + 1] := hashes[n];
        END IF;
        n := n - pairs;
    END LOOP;
    RETURN hashes[1];
END
$$;
