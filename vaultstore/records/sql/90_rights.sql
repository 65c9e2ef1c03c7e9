-- A new function may be called by everybody; these by their owner alone, until a role is granted one by name.
DO $$
DECLARE
    found regprocedure;
BEGIN
    FOR found IN
        SELECT p.oid::regprocedure FROM pg_proc p
        WHERE p.pronamespace = '@schema@'::regnamespace AND (starts_with(p.proname, 'vs_') OR starts_with(p.proname, 'vsx_'))
    LOOP
        EXECUTE 'REVOKE ALL ON FUNCTION ' || found || ' FROM PUBLIC';
    END LOOP;
END
$$
