-- Who may do what to a store's tables, as the catalogs have it: rows of (kind, object, part, who, detail).
--
-- Run with search_path = pg_catalog, so that every name outside it is written with its schema. `schema` is looked at;
-- its name is written as `as_schema`, so that two schemas can be compared. `prefix` begins the names of our roles,
-- `tables` are the protected ones. Objects of extensions are left out: whoever may install one is a superuser.
WITH RECURSIVE ns AS (
    SELECT oid, nspname, nspowner, nspacl FROM pg_namespace WHERE nspname = :schema
),
ours AS (
    SELECT oid, rolname FROM pg_roles WHERE starts_with(rolname, :prefix)
),
grantee AS (
    SELECT oid, rolname::text AS name FROM pg_roles UNION ALL SELECT 0, 'PUBLIC'
),
extension AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
),
rel AS (
    SELECT c.*, replace(c.oid::regclass::text, :schema || '.', :as_schema || '.') AS name
    FROM pg_class c
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        AND NOT EXISTS (SELECT FROM extension e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid)
),
protected AS (
    SELECT * FROM rel WHERE relnamespace = (SELECT oid FROM ns) AND relname = ANY (:tables)
),
-- What has a rule that reads or writes a protected table: views, and views over those, wherever they are.
over AS (
    SELECT r.ev_class AS oid
    FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid IN (SELECT oid FROM protected) AND r.ev_class <> d.refobjid
    UNION
    SELECT r.ev_class
    FROM over o
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = o.oid
    JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.ev_class <> o.oid
),
-- Relations whose every right is told: the protected ones, their sequences, and views over them in this schema.
told AS (
    SELECT oid FROM protected
    UNION
    SELECT d.objid FROM pg_depend d JOIN rel s ON s.oid = d.objid AND s.relkind = 'S'
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid IN (SELECT oid FROM protected) AND d.deptype IN ('a', 'i')
    UNION
    SELECT v.oid FROM rel v JOIN over USING (oid)
    WHERE v.relnamespace = (SELECT oid FROM ns) AND v.relkind IN ('v', 'm')
),
shown AS (
    SELECT rel.* FROM rel JOIN told USING (oid)
),
cols AS (
    SELECT s.oid, s.name, s.relkind, s.relowner, a.attnum, a.attname, a.attacl,
        replace(format_type(a.atttypid, a.atttypmod), :schema || '.', :as_schema || '.')
            || CASE WHEN a.attgenerated <> '' THEN ' GENERATED' ELSE '' END AS type
    FROM shown s JOIN pg_attribute a ON a.attrelid = s.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE s.relkind <> 'S'
),
fn AS (
    SELECT p.*, replace(p.oid::regprocedure::text, :schema || '.', :as_schema || '.') AS name,
        p.pronamespace = (SELECT oid FROM ns) AS inside,
        'sha256:' || left(encode(sha256(convert_to(
            replace(coalesce(pg_get_function_sqlbody(p.oid), p.prosrc), :schema, :as_schema), 'UTF8')), 'hex'), 16) AS body
    FROM pg_proc p
    WHERE (p.prosecdef OR p.pronamespace = (SELECT oid FROM ns) AND p.proname ~ '^vsx?_')
        AND NOT EXISTS (SELECT FROM extension e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid)
)

-- Tables, their sequences and the views over them.
SELECT 'relation' AS kind, name AS object, '' AS part, '' AS who,
    CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
        WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' ELSE 'sequence' END AS detail
FROM shown WHERE relkind NOT IN ('v', 'm') OR oid IN (SELECT oid FROM protected)
UNION ALL
-- A sequence that no column owns may belong to whoever made it: numbers tell nothing.
SELECT 'owner', name, '', '', pg_get_userbyid(relowner) FROM shown
WHERE relkind NOT IN ('v', 'm') AND NOT (relkind = 'S' AND oid IN (SELECT oid FROM protected))
UNION ALL
SELECT 'row security', name, '', '', CASE WHEN relrowsecurity THEN 'on' ELSE 'off' END
FROM shown WHERE relkind IN ('r', 'p')
UNION ALL
SELECT 'forced row security', name, '', '', CASE WHEN relforcerowsecurity THEN 'on' ELSE 'off' END
FROM shown WHERE relkind IN ('r', 'p')
UNION ALL
SELECT 'column', name, attname, '', type FROM cols WHERE oid IN (SELECT oid FROM protected)
UNION ALL
SELECT 'check', s.name, c.conname, '', replace(pg_get_constraintdef(c.oid), :schema || '.', :as_schema || '.')
FROM shown s JOIN pg_constraint c ON c.conrelid = s.oid AND c.contype = 'c'
UNION ALL
SELECT 'view', v.name, '', '', concat_ws(' ', 'owner', pg_get_userbyid(v.relowner),
    CASE WHEN o.rolsuper THEN '(superuser)' WHEN o.rolbypassrls THEN '(bypasses row security)' END,
    CASE WHEN v.relkind = 'm' THEN 'materialized' END, v.reloptions::text,
    'sha256:' || left(encode(sha256(convert_to(replace(pg_get_viewdef(v.oid), :schema, :as_schema), 'UTF8')), 'hex'), 16))
FROM rel v JOIN over USING (oid) JOIN pg_roles o ON o.oid = v.relowner WHERE v.relkind IN ('v', 'm')
UNION ALL
SELECT 'rule', t.name, r.rulename, '', concat_ws(' ', CASE r.ev_enabled WHEN 'D' THEN 'disabled' END, pg_get_ruledef(r.oid))
FROM rel t JOIN pg_rewrite r ON r.ev_class = t.oid
WHERE r.rulename <> '_RETURN' AND (t.oid IN (SELECT oid FROM told) OR t.oid IN (SELECT oid FROM over))
UNION ALL
SELECT 'policy', s.name, p.polname, '', concat_ws(' ', CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
    'FOR', CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
    'TO', (SELECT string_agg(g.name, ', ' ORDER BY g.name) FROM grantee g WHERE g.oid = ANY (p.polroles)),
    'USING (' || replace(pg_get_expr(p.polqual, p.polrelid), :schema || '.', :as_schema || '.') || ')',
    'WITH CHECK (' || replace(pg_get_expr(p.polwithcheck, p.polrelid), :schema || '.', :as_schema || '.') || ')')
FROM shown s JOIN pg_policy p ON p.polrelid = s.oid
UNION ALL
-- Of the triggers behind foreign keys only those that somebody switched off.
SELECT 'trigger', s.name, t.tgname, '', concat_ws(' ',
    CASE t.tgenabled WHEN 'O' THEN 'enabled' WHEN 'A' THEN 'always' WHEN 'R' THEN 'replica only' ELSE 'disabled' END,
    replace(pg_get_triggerdef(t.oid), :schema || '.', :as_schema || '.'))
FROM shown s JOIN pg_trigger t ON t.tgrelid = s.oid WHERE NOT t.tgisinternal OR t.tgenabled = 'D'
UNION ALL
SELECT 'inheritance', p.name, c.name, '', 'child'
FROM pg_inherits i JOIN rel p ON p.oid = i.inhparent JOIN rel c ON c.oid = i.inhrelid
WHERE p.oid IN (SELECT oid FROM protected) OR c.oid IN (SELECT oid FROM protected)
UNION ALL
SELECT 'publication', pubname, :as_schema || '.' || tablename, '', 'published'
FROM pg_publication_tables WHERE schemaname = :schema AND tablename = ANY (:tables)

-- Rights as they were granted. `(owner)` is the object's owner, whoever that is: who it is has a row of its own.
UNION ALL
SELECT kind, object, part, CASE WHEN a.grantee = owner THEN '(owner)' ELSE g.name END, right_
FROM (
    SELECT 'grant' AS kind, name AS object, '' AS part, relowner AS owner,
        coalesce(relacl, acldefault(CASE WHEN relkind = 'S' THEN 's' ELSE 'r' END::"char", relowner)) AS acl
    FROM shown
    UNION ALL
    SELECT 'grant', name, attname, relowner, attacl FROM cols WHERE attacl IS NOT NULL
    UNION ALL
    SELECT 'function grant', name, '', proowner, coalesce(proacl, acldefault('f', proowner)) FROM fn WHERE inside
    UNION ALL
    SELECT 'schema grant', :as_schema, '', nspowner, coalesce(nspacl, acldefault('n', nspowner)) FROM ns
) granted
CROSS JOIN aclexplode(acl) a
JOIN grantee g ON g.oid = a.grantee
CROSS JOIN LATERAL (
    SELECT a.privilege_type UNION ALL
    SELECT 'GRANT OPTION FOR ' || a.privilege_type WHERE a.is_grantable AND a.grantee <> owner
) r (right_)
WHERE NOT (kind = 'schema grant' AND a.grantee = owner)

-- Rights as they work out, through PUBLIC, groups and attributes.
UNION ALL
SELECT 'effective', c.name, c.attname, o.rolname, p
FROM cols c CROSS JOIN ours o CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) p
WHERE o.oid <> c.relowner AND has_column_privilege(o.oid, c.oid, c.attnum, p)
UNION ALL
SELECT 'effective', s.name, '', o.rolname, p
FROM shown s CROSS JOIN ours o CROSS JOIN unnest(ARRAY['DELETE', 'TRUNCATE', 'TRIGGER']) p
WHERE s.relkind <> 'S' AND o.oid <> s.relowner AND has_table_privilege(o.oid, s.oid, p)
UNION ALL
SELECT 'effective', s.name, '', o.rolname, p
FROM shown s CROSS JOIN ours o CROSS JOIN unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) p
WHERE s.relkind = 'S' AND o.oid <> s.relowner AND has_sequence_privilege(o.oid, s.oid, p)
UNION ALL
SELECT 'effective', f.name, '', o.rolname, 'EXECUTE'
FROM fn f CROSS JOIN ours o WHERE f.inside AND o.oid <> f.proowner AND has_function_privilege(o.oid, f.oid, 'EXECUTE')
UNION ALL
SELECT 'effective', 'schema ' || :as_schema, '', o.rolname, p
FROM ns CROSS JOIN ours o CROSS JOIN unnest(ARRAY['USAGE', 'CREATE']) p WHERE has_schema_privilege(o.oid, ns.oid, p)
UNION ALL
SELECT 'effective', 'database ' || current_database(), '', o.rolname, p
FROM ours o CROSS JOIN unnest(ARRAY['CONNECT', 'CREATE']) p
WHERE has_database_privilege(o.oid, current_database(), p)

-- Functions: the gate's, and every other that runs with its owner's rights.
UNION ALL
SELECT 'function', f.name, v.part, '', v.detail
FROM fn f CROSS JOIN LATERAL (VALUES
    ('owner', pg_get_userbyid(f.proowner)::text),
    ('security', concat_ws(' ', CASE WHEN f.prosecdef THEN 'definer' ELSE 'invoker' END,
        (SELECT lanname FROM pg_language l WHERE l.oid = f.prolang), CASE WHEN f.proleakproof THEN 'leakproof' END,
        CASE f.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END)),
    ('settings', replace(coalesce(array_to_string(f.proconfig, '; '), 'none'), :schema, :as_schema)),
    ('body', f.body)) v (part, detail)
WHERE f.inside
UNION ALL
SELECT 'definer function', f.name, '', '', concat_ws(' ', 'owner', o.rolname, CASE WHEN o.rolsuper THEN '(superuser)' END,
    coalesce(array_to_string(f.proconfig, '; '), 'no search_path'), f.body, 'called by ' || (
        SELECT string_agg(g.name, ', ' ORDER BY g.name)
        FROM aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a JOIN grantee g ON g.oid = a.grantee
        WHERE a.grantee <> f.proowner))
FROM fn f JOIN pg_roles o ON o.oid = f.proowner WHERE NOT f.inside

-- What cannot be cloned: roles, and what lies around the schema.
UNION ALL
SELECT 'role', r.rolname, '', '', concat_ws(' ', CASE WHEN r.rolsuper THEN 'SUPERUSER' END,
    CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END, CASE WHEN r.rolreplication THEN 'REPLICATION' END,
    CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END, CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
    CASE WHEN r.rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END, CASE WHEN r.rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END)
FROM pg_roles r JOIN ours USING (oid)
UNION ALL
-- Before 16 CREATEROLE could grant any role that is no superuser's.
SELECT 'power', r.rolname, '', '', concat_ws(' ', CASE WHEN r.rolsuper THEN 'SUPERUSER' END,
    CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END, CASE WHEN r.rolreplication THEN 'REPLICATION' END,
    CASE WHEN r.rolcreaterole AND current_setting('server_version_num')::int < 160000 THEN 'CREATEROLE' END)
FROM pg_roles r
WHERE r.oid NOT IN (SELECT oid FROM ours) AND r.oid <> 10
    AND (r.rolsuper OR r.rolbypassrls OR r.rolreplication
        OR r.rolcreaterole AND current_setting('server_version_num')::int < 160000)
UNION ALL
SELECT 'membership', g.rolname, '', r.rolname, concat_ws(' ', 'member', CASE WHEN (j ->> 'admin_option')::boolean THEN 'ADMIN' END,
    CASE WHEN (j ->> 'inherit_option')::boolean THEN 'INHERIT' END, CASE WHEN NOT (j ->> 'set_option')::boolean THEN 'no SET' END)
FROM pg_auth_members m CROSS JOIN to_jsonb(m) j JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member
WHERE m.roleid IN (SELECT oid FROM ours) OR m.member IN (SELECT oid FROM ours)
    OR g.rolname IN ('pg_read_all_data', 'pg_write_all_data', 'pg_execute_server_program', 'pg_read_server_files',
        'pg_write_server_files', 'pg_maintain')
UNION ALL
SELECT 'setting', coalesce('role ' || r.rolname, 'database ' || current_database()), split_part(c, '=', 1), '',
    c || CASE WHEN s.setdatabase = 0 THEN '' ELSE ' in this database' END
FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole CROSS JOIN unnest(s.setconfig) c
WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND (s.setrole IN (SELECT oid FROM ours) OR s.setrole = 0 AND split_part(c, '=', 1) ~ '^(role|search_path|row_security'
        '|session_replication_role|.*_preload_libraries|synchronous_commit|default_transaction_isolation|vaultstore\..*)$')
UNION ALL
SELECT 'database grant', d.datname, '', g.name, a.privilege_type
FROM pg_database d CROSS JOIN aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a JOIN grantee g ON g.oid = a.grantee
WHERE d.datname = current_database() AND a.grantee <> d.datdba AND a.privilege_type = 'CREATE'
UNION ALL
SELECT DISTINCT 'other grant', replace(r.name, :schema || '.', :as_schema || '.'), '', o.rolname, a.privilege_type
FROM rel r
CROSS JOIN LATERAL (
    SELECT x.grantee, x.privilege_type FROM aclexplode(r.relacl) x
    UNION ALL
    SELECT x.grantee, x.privilege_type FROM pg_attribute t CROSS JOIN aclexplode(t.attacl) x WHERE t.attrelid = r.oid
) a
JOIN ours o ON o.oid = a.grantee
WHERE r.oid NOT IN (SELECT oid FROM told) AND a.grantee <> r.relowner
UNION ALL
SELECT 'event trigger', evtname, '', '', concat_ws(' ', 'on', evtevent, 'runs', evtfoid::regprocedure::text,
    CASE WHEN evtenabled = 'D' THEN '(disabled)' END)
FROM pg_event_trigger e
WHERE NOT EXISTS (SELECT FROM extension x WHERE x.classid = 'pg_event_trigger'::regclass AND x.objid = e.oid)
UNION ALL
SELECT 'default grant', 'objects that ' || pg_get_userbyid(d.defaclrole) || ' creates'
        || CASE WHEN d.defaclnamespace = 0 THEN '' ELSE ' in schema ' || :as_schema END,
    CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' ELSE 'schemas' END,
    g.name, a.privilege_type
FROM pg_default_acl d CROSS JOIN aclexplode(d.defaclacl) a JOIN grantee g ON g.oid = a.grantee
WHERE d.defaclnamespace IN (0, (SELECT oid FROM ns)) AND a.grantee <> d.defaclrole
    AND NOT (a.grantee = 0 AND d.defaclobjtype IN ('f', 'T'))
UNION ALL
SELECT 'parameter grant', p.parname, '', g.name, a.privilege_type
FROM pg_parameter_acl p CROSS JOIN aclexplode(p.paracl) a JOIN grantee g ON g.oid = a.grantee
WHERE a.grantee = 0 OR a.grantee IN (SELECT oid FROM ours)
