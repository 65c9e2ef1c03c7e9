-- Pseudonyms of actors: what the audit leaf calls them. See vaultstore.records.pseudonyms.

CREATE OR REPLACE FUNCTION @schema@.vsx_pseudonym(actor text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT 'p-' || left(encode(sha256(s.secret || sha256(convert_to(actor, 'UTF8'))), 'hex'), 32)
    FROM @schema@.vs_secrets s WHERE s.name = 'pseudonyms'
$$;

--@@ Its secret: 32 bytes out of 366 random bits that nobody stores, since pgcrypto is not everywhere.
DO $$
BEGIN
    INSERT INTO @schema@.vs_secrets (name, secret)
    VALUES (
        'pseudonyms',
        sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
    )
    ON CONFLICT DO NOTHING;
END
$$;
