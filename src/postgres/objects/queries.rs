//! The queries of PostgreSQL's catalogue that `objects.rs` runs.
//!
//! Queries of steps return `what`, `guards` and `sql`. The server prints a definition with the name of its table. The
//! part behind that name is used for the new table.

/// The inputs of the queries, by name.
pub(super) const GIVEN: &str = "WITH p AS MATERIALIZED (SELECT $1::text AS o, $2::text AS n, $1::text::regclass AS old, \
     $2::text::regclass AS new, $1::text::regclass::text AS shown, $3::text::jsonb AS indexes, $4::text::jsonb AS uniques, \
     $5::boolean AS within, ARRAY(SELECT to_regclass(u)::oid FROM unnest($6::text[]) u) AS tables) ";

/// Who may use the new table. It gets the grants that the old table has. Within a version, it also loses those that
/// the old table has not.
pub(super) const GRANTS: &str = "SELECT format('%s of %s%s on %s', CASE WHEN x.gives THEN 'grant' ELSE 'lack' END, x.privilege, x.columns, \
     shown), true, format(CASE WHEN x.gives THEN 'GRANT %s%s ON %s TO %s%s' ELSE 'REVOKE %s%s ON %s FROM %s' END, \
     x.privilege, x.columns, n, CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END, \
     CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) FROM p, LATERAL \
     (SELECT true AS gives, * FROM (SELECT a.privilege_type AS privilege, '' AS columns, a.grantee, a.is_grantable \
        FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = old AND a.grantee <> c.relowner \
      UNION ALL SELECT a.privilege_type, format('(%I)', t.attname), a.grantee, a.is_grantable \
        FROM pg_attribute t JOIN pg_attribute u ON u.attrelid = new AND u.attname = t.attname AND u.attnum > 0, \
        aclexplode(t.attacl) a WHERE t.attrelid = old AND t.attnum > 0 AND NOT t.attisdropped \
      EXCEPT ALL (SELECT a.privilege_type, '', a.grantee, a.is_grantable FROM pg_class c, aclexplode(c.relacl) a \
        WHERE c.oid = new UNION ALL SELECT a.privilege_type, format('(%I)', t.attname), a.grantee, a.is_grantable \
        FROM pg_attribute t, aclexplode(t.attacl) a WHERE t.attrelid = new)) g \
      UNION ALL SELECT false, a.privilege_type, '', a.grantee, false FROM pg_class c, aclexplode(c.relacl) a \
        WHERE within AND c.oid = new AND a.grantee <> c.relowner AND NOT EXISTS (SELECT 1 FROM pg_class d, \
        aclexplode(d.relacl) b WHERE d.oid = old AND b.grantee = a.grantee AND b.privilege_type = a.privilege_type)) x";

pub(super) const OPTIONS: &str = "SELECT format('option %s of %s', x.name, shown), false, \
     format('ALTER TABLE %s SET (%s = %L)', n, x.name, x.value) FROM p, LATERAL \
     (SELECT option_name AS name, option_value AS value FROM pg_class c, pg_options_to_table(c.reloptions) WHERE c.oid = old \
      UNION ALL SELECT 'toast.' || option_name, option_value FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid, \
        pg_options_to_table(t.reloptions) WHERE c.oid = old \
      EXCEPT (SELECT option_name, option_value FROM pg_class c, pg_options_to_table(c.reloptions) WHERE c.oid = new \
      UNION ALL SELECT 'toast.' || option_name, option_value FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid, \
        pg_options_to_table(t.reloptions) WHERE c.oid = new)) x";

pub(super) const STORAGE: &str = "SELECT format('tablespace of %s', shown), false, format('ALTER TABLE %s SET TABLESPACE %I', n, s.spcname) \
     FROM p JOIN pg_class c ON c.oid = old JOIN pg_class d ON d.oid = new JOIN pg_tablespace s ON s.oid = c.reltablespace \
     WHERE c.reltablespace <> d.reltablespace \
     UNION ALL SELECT format('%s is unlogged', shown), false, format('ALTER TABLE %s SET UNLOGGED', n) \
     FROM p JOIN pg_class c ON c.oid = old JOIN pg_class d ON d.oid = new \
     WHERE c.relpersistence = 'u' AND d.relpersistence = 'p'";

/// Settings of the columns that both tables have.
pub(super) const COLUMNS: &str = "SELECT format('%s of column %I of %s', x.what, a.attname, shown), false, \
     format('ALTER TABLE %s ALTER COLUMN %I %s', n, a.attname, x.sql) \
     FROM p JOIN pg_attribute a ON a.attrelid = old AND a.attnum > 0 AND NOT a.attisdropped \
     JOIN pg_attribute b ON b.attrelid = new AND b.attname = a.attname AND b.attnum > 0 \
     LEFT JOIN pg_attrdef f ON f.adrelid = old AND f.adnum = a.attnum \
     LEFT JOIN pg_attrdef g ON g.adrelid = new AND g.adnum = b.attnum, LATERAL \
     (SELECT 'statistics target' AS what, format('SET STATISTICS %s', coalesce(a.attstattarget::int, -1)) AS sql \
        WHERE coalesce(a.attstattarget::int, -1) <> coalesce(b.attstattarget::int, -1) \
      UNION ALL SELECT 'storage', 'SET STORAGE ' || CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' \
        WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END WHERE a.attstorage <> b.attstorage AND a.atttypid = b.atttypid \
      UNION ALL (SELECT 'option ' || option_name, format('SET (%s = %L)', option_name, option_value) \
        FROM (SELECT * FROM pg_options_to_table(a.attoptions) EXCEPT SELECT * FROM pg_options_to_table(b.attoptions)) y) \
      UNION ALL SELECT 'default', coalesce('SET DEFAULT ' || pg_get_expr(f.adbin, f.adrelid), 'DROP DEFAULT') WHERE within \
        AND a.attgenerated = '' AND pg_get_expr(f.adbin, f.adrelid) IS DISTINCT FROM pg_get_expr(g.adbin, g.adrelid)) x";

/// The compression of columns. PostgreSQL has it since version 14.
pub(super) const COMPRESSION: &str = "SELECT format('compression of column %I of %s', a.attname, shown), false, \
     format('ALTER TABLE %s ALTER COLUMN %I SET COMPRESSION %s', n, a.attname, \
       CASE a.attcompression WHEN 'l' THEN 'lz4' WHEN 'p' THEN 'pglz' ELSE 'default' END) \
     FROM p JOIN pg_attribute a ON a.attrelid = old AND a.attnum > 0 AND NOT a.attisdropped \
     JOIN pg_attribute b ON b.attrelid = new AND b.attname = a.attname AND b.attnum > 0 \
     WHERE a.attcompression <> b.attcompression AND a.atttypid = b.atttypid";

pub(super) const COMMENTS: &str = "SELECT format('comment on %s', shown), false, format('COMMENT ON TABLE %s IS %L', n, \
     obj_description(old, 'pg_class')) FROM p WHERE obj_description(old, 'pg_class') IS NOT NULL \
     AND obj_description(old, 'pg_class') IS DISTINCT FROM obj_description(new, 'pg_class') \
     UNION ALL SELECT format('comment on column %I of %s', a.attname, shown), false, \
     format('COMMENT ON COLUMN %s.%I IS %L', n, a.attname, col_description(old, a.attnum)) \
     FROM p JOIN pg_attribute a ON a.attrelid = old AND a.attnum > 0 AND NOT a.attisdropped \
     JOIN pg_attribute b ON b.attrelid = new AND b.attname = a.attname AND b.attnum > 0 \
     WHERE col_description(old, a.attnum) IS NOT NULL \
     AND col_description(old, a.attnum) IS DISTINCT FROM col_description(new, b.attnum)";

pub(super) const LABELS: &str = "SELECT format('security label of %s on %s%s', l.provider, shown, \
     coalesce(', column ' || quote_ident(a.attname), '')), true, \
     format('SECURITY LABEL FOR %I ON %s %s%s IS %L', l.provider, CASE WHEN l.objsubid > 0 THEN 'COLUMN' ELSE 'TABLE' END, n, \
     coalesce('.' || quote_ident(a.attname), ''), l.label) \
     FROM p JOIN pg_seclabel l ON l.classoid = 'pg_class'::regclass AND l.objoid = old \
     LEFT JOIN pg_attribute a ON l.objsubid > 0 AND a.attrelid = old AND a.attnum = l.objsubid \
     LEFT JOIN pg_attribute b ON b.attrelid = new AND b.attname = a.attname AND b.attnum > 0 \
     WHERE NOT EXISTS (SELECT 1 FROM pg_seclabel m WHERE m.classoid = 'pg_class'::regclass AND m.objoid = new \
     AND m.objsubid = coalesce(b.attnum, 0) AND m.provider = l.provider AND m.label = l.label)";

/// The indexes of both tables. Equal indexes are told apart by their order. An index belongs to the definition if it
/// is the first that equals one of the definition, or if its name begins with the library's prefix. `tail` is the
/// text behind the name of the table.
pub(super) const INDEXES: &str = ", ix AS (SELECT *, row_number() OVER (PARTITION BY is_old, indisunique, tail ORDER BY indexrelid) AS nr FROM \
     (SELECT i.indrelid = old AS is_old, i.indexrelid, i.indisunique, i.indisreplident, c.relname::text AS name, \
      k.oid AS con, format('%I.%I', s.nspname, c.relname) AS full_name, s.nspname, \
      substr(pg_get_indexdef(i.indexrelid), 1 + length(format('CREATE %sINDEX %I ON %I.%I', \
        CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, c.relname, s.nspname, t.relname))) AS tail, \
      starts_with(c.relname::text, 'readside_') OR i.indpred IS NULL AND i.indexprs IS NULL AND i.indnatts = i.indnkeyatts AND EXISTS (SELECT 1 FROM \
        jsonb_array_elements(CASE WHEN k.contype = 'u' THEN p.uniques WHEN i.indisunique THEN '[]' ELSE p.indexes END) e \
        WHERE e = (SELECT jsonb_agg(a.attname ORDER BY x.ord) FROM unnest(i.indkey::int2[]) WITH ORDINALITY x(num, ord) \
          JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = x.num)) AS own \
      FROM p JOIN pg_index i ON i.indrelid IN (old, new) AND i.indisvalid AND NOT i.indisprimary \
      JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid \
      JOIN pg_namespace s ON s.oid = t.relnamespace \
      LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('u', 'x')) y), \
     want AS (SELECT ix.*, left(name, 11) || '_' || substr(md5(name || n), 1, 16) AS beside FROM ix, p \
      WHERE is_old AND NOT (own AND nr = 1)) ";

/// The index gets the old index's name when the new table takes the old table's place.
pub(super) const MAKE_INDEXES: &str = "SELECT format('%s %s of %s', CASE WHEN w.con IS NULL THEN 'index' ELSE 'constraint' END, w.name, shown), false, \
     CASE WHEN w.con IS NULL THEN format('CREATE %sINDEX %I ON %s%s', \
       CASE WHEN w.indisunique THEN 'UNIQUE ' ELSE '' END, w.beside, n, w.tail) \
     || CASE WHEN obj_description(w.indexrelid, 'pg_class') IS NULL THEN '' ELSE format('; COMMENT ON INDEX %I.%I IS %L', w.nspname, w.beside, obj_description(w.indexrelid, 'pg_class')) END \
     ELSE format('ALTER TABLE %s ADD CONSTRAINT %I %s', n, w.beside, pg_get_constraintdef(w.con)) END \
     FROM p, want w WHERE NOT EXISTS (SELECT 1 FROM ix m WHERE NOT m.is_old AND m.indisunique = w.indisunique \
     AND m.tail = w.tail AND m.nr = w.nr) ORDER BY w.name";

pub(super) const NAME_INDEXES: &str = "SELECT format('name of index %s of %s', w.name, shown), false, \
     format('ALTER INDEX %s RENAME TO %I; ALTER INDEX %I.%I RENAME TO %I; ALTER INDEX %I.%I RENAME TO %I', \
       w.full_name, 'readside_aside', w.nspname, m.name, w.name, w.nspname, 'readside_aside', m.name) \
     FROM p, want w JOIN ix m ON NOT m.is_old AND m.indisunique = w.indisunique AND m.tail = w.tail AND m.nr = w.nr \
     AND starts_with(m.name, left(w.name, 11) || '_') AND m.name <> w.name ORDER BY w.name";

pub(super) const IDENTITY: &str = "SELECT format('replica identity of %s', shown), false, format('ALTER TABLE %s REPLICA IDENTITY %s', n, \
     CASE c.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' WHEN 'd' THEN 'DEFAULT' ELSE \
       (SELECT format('USING INDEX %I', m.name) FROM ix o JOIN ix m ON NOT m.is_old AND m.tail = o.tail AND m.nr = o.nr \
         AND m.indisunique = o.indisunique WHERE o.is_old AND o.indisreplident LIMIT 1) END) \
     FROM p JOIN pg_class c ON c.oid = old JOIN pg_class d ON d.oid = new WHERE c.relreplident <> d.relreplident";

/// Checks, exclusions without their own index, and foreign keys to the service's own tables. A constraint of the
/// table's definition has a name that begins with the library's prefix. It is not moved, because the next definition
/// brings its own.
pub(super) const CHECKS: &str = "SELECT format('constraint %I of %s', k.conname, shown), false, \
     format('ALTER TABLE %s ADD CONSTRAINT %I %s', n, k.conname, pg_get_constraintdef(k.oid)) \
     || CASE WHEN obj_description(k.oid, 'pg_constraint') IS NULL THEN '' ELSE format('; COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, n, obj_description(k.oid, 'pg_constraint')) END \
     FROM p JOIN pg_constraint k ON k.conrelid = old WHERE (k.contype = 'c' AND NOT starts_with(k.conname::text, 'readside_') OR k.contype = 'f' AND k.confrelid <> ALL(tables)) \
     AND NOT EXISTS (SELECT 1 FROM pg_constraint m WHERE m.conrelid = new AND m.conname = k.conname \
     AND pg_get_constraintdef(m.oid) = pg_get_constraintdef(k.oid)) ORDER BY k.conname";

pub(super) const STATISTICS: &str = ", st AS (SELECT e.stxrelid = old AS is_old, e.oid, e.stxname::text AS name, s.nspname, \
     left(y.rest, length(y.rest) - length(' FROM ' || e.stxrelid::regclass::text)) AS tail \
     FROM p JOIN pg_statistic_ext e ON e.stxrelid IN (old, new) JOIN pg_namespace s ON s.oid = e.stxnamespace, LATERAL \
     (SELECT substr(pg_get_statisticsobjdef(e.oid), 1 + length(format('CREATE STATISTICS %I.%I', s.nspname, e.stxname))) AS rest) y) ";

pub(super) const MAKE_STATISTICS: &str = "SELECT format('statistics %s of %s', w.name, shown), false, \
     format('CREATE STATISTICS %I.%I%s FROM %s', w.nspname, left(w.name, 11) || '_' || substr(md5(w.name || n), 1, 16), w.tail, n) \
     FROM p, st w WHERE w.is_old AND NOT EXISTS (SELECT 1 FROM st m WHERE NOT m.is_old AND m.tail = w.tail) ORDER BY w.name";

pub(super) const NAME_STATISTICS: &str = "SELECT format('name of statistics %s of %s', w.name, shown), false, \
     format('ALTER STATISTICS %I.%I RENAME TO %I; ALTER STATISTICS %I.%I RENAME TO %I; ALTER STATISTICS %I.%I RENAME TO %I', \
       w.nspname, w.name, 'readside_aside', m.nspname, m.name, w.name, w.nspname, 'readside_aside', m.name) \
     FROM p, st w JOIN st m ON NOT m.is_old AND m.tail = w.tail AND m.name <> w.name \
     AND starts_with(m.name, left(w.name, 11) || '_') WHERE w.is_old ORDER BY w.name";

/// The policies of both tables, as the text that creates them.
pub(super) const POLICIES: &str = ", po AS (SELECT l.polrelid = old AS is_old, l.oid, l.polname, \
     format('AS %s FOR %s TO %s%s%s', CASE WHEN l.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END, \
       CASE l.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END, \
       (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ' ORDER BY r) \
        FROM unnest(l.polroles) r), \
       coalesce(' USING (' || pg_get_expr(l.polqual, l.polrelid) || ')', ''), \
       coalesce(' WITH CHECK (' || pg_get_expr(l.polwithcheck, l.polrelid) || ')', '')) AS words \
     FROM p JOIN pg_policy l ON l.polrelid IN (old, new)) ";

/// The next definition brings its own policies. Within a version, the old table's policies win. Another version may
/// have its own policies by now.
pub(super) const MAKE_POLICIES: &str = "SELECT format('policy %s of %s', w.polname, shown), true, \
     CASE WHEN m.oid IS NULL THEN '' ELSE format('DROP POLICY %I ON %s; ', m.polname, n) END \
     || format('CREATE POLICY %I ON %s %s', w.polname, n, w.words) \
     || CASE WHEN obj_description(w.oid, 'pg_policy') IS NULL THEN '' ELSE format('; COMMENT ON POLICY %I ON %s IS %L', w.polname, n, obj_description(w.oid, 'pg_policy')) END \
     FROM p, po w LEFT JOIN po m ON NOT m.is_old AND m.polname = w.polname \
     WHERE w.is_old AND NOT starts_with(w.polname::text, 'readside_') AND (m.oid IS NULL OR within AND m.words <> w.words) ORDER BY w.polname";

pub(super) const ROW_SECURITY: &str = "SELECT format('row-level security of %s', shown), true, \
     format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', n) FROM p JOIN pg_class c ON c.oid = old JOIN pg_class d ON d.oid = new \
     WHERE c.relrowsecurity AND NOT d.relrowsecurity AND (NOT EXISTS (SELECT 1 FROM pg_policy l WHERE l.polrelid = old) \
     OR EXISTS (SELECT 1 FROM pg_policy l WHERE l.polrelid = old AND NOT starts_with(l.polname::text, 'readside_'))) \
     UNION ALL SELECT format('forced row-level security of %s', shown), true, \
     format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', n) FROM p JOIN pg_class c ON c.oid = old JOIN pg_class d ON d.oid = new \
     WHERE c.relforcerowsecurity AND NOT d.relforcerowsecurity";

/// The owner changes last: the role that made the table may do all of the above until then.
pub(super) const OWNER: &str = "SELECT format('owner of %s', shown), true, format('ALTER TABLE %s OWNER TO %I', n, pg_get_userbyid(c.relowner)) \
     FROM p JOIN pg_class c ON c.oid = old JOIN pg_class d ON d.oid = new WHERE c.relowner <> d.relowner";

/// A trigger or a rule is on one table at a time, because on both it would act twice.
pub(super) const TRIGGERS: &str = "SELECT format('trigger %I on %s', t.tgname, shown), false, \
     overlay(x.def placing format(' ON %s ', n) from strpos(x.def, x.place) for length(x.place)) \
     || CASE t.tgenabled WHEN 'D' THEN format('; ALTER TABLE %s DISABLE TRIGGER %I', n, t.tgname) \
       WHEN 'R' THEN format('; ALTER TABLE %s ENABLE REPLICA TRIGGER %I', n, t.tgname) \
       WHEN 'A' THEN format('; ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', n, t.tgname) ELSE '' END \
     || CASE WHEN obj_description(t.oid, 'pg_trigger') IS NULL THEN '' ELSE format('; COMMENT ON TRIGGER %I ON %s IS %L', t.tgname, n, obj_description(t.oid, 'pg_trigger')) END, \
     format('DROP TRIGGER %I ON %s', t.tgname, o) \
     FROM p JOIN pg_trigger t ON t.tgrelid = old AND NOT t.tgisinternal JOIN pg_class c ON c.oid = old \
     JOIN pg_namespace s ON s.oid = c.relnamespace, LATERAL \
     (SELECT pg_get_triggerdef(t.oid) AS def, format(' ON %I.%I ', s.nspname, c.relname) AS place) x ORDER BY t.tgname";

pub(super) const RULES: &str = "SELECT format('rule %I on %s', r.rulename, shown), false, \
     overlay(x.def placing ' TO ' || n from strpos(x.def, x.place) for length(x.place)) \
     || CASE r.ev_enabled WHEN 'D' THEN format('; ALTER TABLE %s DISABLE RULE %I', n, r.rulename) \
       WHEN 'R' THEN format('; ALTER TABLE %s ENABLE REPLICA RULE %I', n, r.rulename) \
       WHEN 'A' THEN format('; ALTER TABLE %s ENABLE ALWAYS RULE %I', n, r.rulename) ELSE '' END, \
     format('DROP RULE %I ON %s', r.rulename, o) \
     FROM p JOIN pg_rewrite r ON r.ev_class = old JOIN pg_class c ON c.oid = old \
     JOIN pg_namespace s ON s.oid = c.relnamespace, LATERAL \
     (SELECT pg_get_ruledef(r.oid) AS def, format(' TO %I.%I', s.nspname, c.relname) AS place) x ORDER BY r.rulename";

/// The server checks that each row of the other table has its row in the new table.
pub(super) const FOREIGN_KEYS: &str = "SELECT format('foreign key %I of table %s to %s', k.conname, k.conrelid::regclass, shown), true, \
     format('ALTER TABLE %s DROP CONSTRAINT %I; ALTER TABLE %s ADD CONSTRAINT %I %s', k.conrelid::regclass, k.conname, \
       k.conrelid::regclass, k.conname, \
       overlay(x.def placing format(' REFERENCES %s(', n) from strpos(x.def, x.place) for length(x.place))) \
     || CASE WHEN obj_description(k.oid, 'pg_constraint') IS NULL THEN '' ELSE format('; COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, k.conrelid::regclass, obj_description(k.oid, 'pg_constraint')) END, '' \
     FROM p JOIN pg_constraint k ON k.contype = 'f' AND k.confrelid = old AND k.conparentid = 0 AND k.conrelid <> ALL(tables), \
     LATERAL (SELECT pg_get_constraintdef(k.oid) AS def, format(' REFERENCES %s(', shown) AS place) x ORDER BY k.conname";

pub(super) const SEQUENCES: &str = "SELECT format('sequence %s of column %I of %s', d.objid::regclass, a.attname, shown), false, \
     format('ALTER SEQUENCE %s OWNED BY %s.%I', d.objid::regclass, n, a.attname), '' \
     FROM p JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = old AND d.refobjsubid > 0 \
     AND d.classid = 'pg_class'::regclass AND d.deptype = 'a' JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' \
     JOIN pg_attribute a ON a.attrelid = old AND a.attnum = d.refobjsubid";

/// PostgreSQL 18 and newer name each NOT NULL, and keep its name while a parent has it, too. So the tables exchange such names
/// before the first parent is the new one's, and when the last one is no longer the old one's.
pub(super) const PARENTS: &str = "SELECT format('%s inherits %s', shown, i.inhparent::regclass), false, \
     CASE WHEN i.first THEN x.taken ELSE '' END || format('ALTER TABLE %s INHERIT %s; ALTER TABLE %s NO INHERIT %s', \
       n, i.inhparent::regclass, o, i.inhparent::regclass) || CASE WHEN i.last THEN x.given ELSE '' END, '' \
     FROM p JOIN (SELECT *, inhseqno = min(inhseqno) OVER w AS first, inhseqno = max(inhseqno) OVER w AS last \
       FROM pg_inherits WINDOW w AS (PARTITION BY inhrelid)) i ON i.inhrelid = old, LATERAL \
     (SELECT coalesce(string_agg(format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I; ', n, m.conname, k.conname), ''), '') AS taken, \
       coalesce(string_agg(format('; ALTER TABLE %s RENAME CONSTRAINT %I TO %I', o, k.conname, m.conname), ''), '') AS given \
      FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = old AND a.attnum = k.conkey[1] \
      JOIN pg_attribute b ON b.attrelid = new AND b.attname = a.attname \
      JOIN pg_constraint m ON m.conrelid = new AND m.contype = 'n' AND m.conkey[1] = b.attnum \
      WHERE within AND k.conrelid = old AND k.contype = 'n' AND k.coninhcount > 0 AND k.conname <> m.conname) x \
     ORDER BY i.inhseqno";

/// Subscribers know a table by its name, which stays the same only within a version.
pub(super) const PUBLICATIONS: &str = "SELECT format('publication %I of %s', b.pubname, shown), false, \
     format('ALTER PUBLICATION %I DROP TABLE ONLY %s; ALTER PUBLICATION %I ADD TABLE ONLY %s', b.pubname, o, b.pubname, n), '' \
     FROM p JOIN pg_publication_rel r ON r.prrelid = old JOIN pg_publication b ON b.oid = r.prpubid WHERE within";

/// Publications with columns and conditions. PostgreSQL has them since version 15.
pub(super) const PUBLICATIONS_IN_PART: &str = "SELECT format('publication %I of %s', b.pubname, shown), false, \
     format('ALTER PUBLICATION %I DROP TABLE ONLY %s; ALTER PUBLICATION %I ADD TABLE ONLY %s%s%s', b.pubname, o, b.pubname, n, \
       (SELECT ' (' || string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) || ')' FROM pg_attribute a \
        WHERE a.attrelid = old AND a.attnum = ANY(r.prattrs::int2[])), \
       ' WHERE (' || pg_get_expr(r.prqual, old) || ')'), '' \
     FROM p JOIN pg_publication_rel r ON r.prrelid = old JOIN pg_publication b ON b.oid = r.prpubid WHERE within";

pub(super) const STAYS: &str = "SELECT format('publication %I publishes %s and not its successor', b.pubname, shown), false \
     FROM p JOIN pg_publication_rel r ON r.prrelid = old JOIN pg_publication b ON b.oid = r.prpubid WHERE NOT within \
     UNION ALL SELECT format('column %I of %s, which its definition does not have', a.attname, shown), true \
     FROM p JOIN pg_attribute a ON a.attrelid = old AND a.attnum > 0 AND NOT a.attisdropped WHERE within \
     AND NOT EXISTS (SELECT 1 FROM pg_attribute b WHERE b.attrelid = new AND b.attname = a.attname) \
     UNION ALL SELECT format('foreign key %I of table %s to %s: %I is not a column of its successor', k.conname, \
     k.conrelid::regclass, shown, a.attname), true FROM p JOIN pg_constraint k ON k.contype = 'f' AND k.confrelid = old \
     AND k.conrelid <> ALL(tables) JOIN pg_attribute a ON a.attrelid = old AND a.attnum = ANY(k.confkey) \
     WHERE NOT EXISTS (SELECT 1 FROM pg_attribute b WHERE b.attrelid = new AND b.attname = a.attname AND b.atttypid = a.atttypid)";

/// What depends on the relations `$1` or their row types, and belongs neither to these relations nor to the views
/// `$2`.
pub(super) const DEPENDENTS: &str = "WITH t AS (SELECT to_regclass(u)::oid AS oid FROM unnest($1::text[]) u), \
     own AS (SELECT oid FROM t UNION SELECT to_regclass(u)::oid FROM unnest($2::text[]) u), \
     y AS (SELECT y.oid FROM pg_type y JOIN pg_class c ON y.oid = c.reltype \
       OR y.oid = (SELECT r.typarray FROM pg_type r WHERE r.oid = c.reltype) WHERE c.oid IN (SELECT oid FROM t)), \
     d AS (SELECT d.classid, d.objid, max(d.objsubid) AS objsubid, bool_and(d.refclassid = 'pg_class'::regclass) AS by_table \
       FROM pg_depend d WHERE d.deptype IN ('n', 'a') AND (d.refclassid = 'pg_class'::regclass AND d.refobjid IN (SELECT oid FROM t) \
         OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (SELECT oid FROM y)) GROUP BY d.classid, d.objid), \
     e AS (SELECT d.*, w.ev_class, w.rulename, c.relkind AS kind, s.relkind AS own_kind, k.contype, coalesce(w.ev_class, k.conrelid, g.tgrelid, \
       l.polrelid, f.adrelid, x.stxrelid, r.prrelid, i.indrelid, CASE WHEN d.classid = 'pg_class'::regclass THEN d.objid END) AS of \
       FROM d LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid \
       LEFT JOIN pg_class c ON c.oid = w.ev_class \
       LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid AND k.conrelid <> 0 \
       LEFT JOIN pg_trigger g ON d.classid = 'pg_trigger'::regclass AND g.oid = d.objid \
       LEFT JOIN pg_policy l ON d.classid = 'pg_policy'::regclass AND l.oid = d.objid \
       LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid \
       LEFT JOIN pg_statistic_ext x ON d.classid = 'pg_statistic_ext'::regclass AND x.oid = d.objid \
       LEFT JOIN pg_publication_rel r ON d.classid = 'pg_publication_rel'::regclass AND r.oid = d.objid \
       LEFT JOIN pg_index i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid \
       LEFT JOIN pg_class s ON d.classid = 'pg_class'::regclass AND s.oid = d.objid) \
     SELECT DISTINCT CASE WHEN rulename = '_RETURN' THEN CASE kind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END \
       || ev_class::regclass::text ELSE pg_describe_object(classid, objid, objsubid) END, \
       coalesce(by_table AND (rulename = '_RETURN' AND kind = 'v' OR contype = 'f' OR own_kind = 'S') \
       AND pg_has_role((SELECT relowner FROM pg_class WHERE pg_class.oid = coalesce(of, objid)), 'USAGE'), false) AS moves \
     FROM e WHERE of IS NULL OR of NOT IN (SELECT oid FROM own WHERE oid IS NOT NULL) ORDER BY 1";

/// Renames the constraints and indexes of `$1` whose names begin with `$2`, so that they begin with `$3`. It removes
/// the part of an index name that keeps it unique while two builds exist.
pub(super) const RENAMED: &str = "WITH p AS (SELECT $1::text AS o, $1::text::regclass AS old, $2::text AS was, $3::text AS now), \
     c AS (SELECT conname::text AS name, true AS is_constraint FROM p JOIN pg_constraint ON conrelid = old \
      UNION SELECT i.relname::text, false FROM p JOIN pg_index x ON x.indrelid = old JOIN pg_class i ON i.oid = x.indexrelid \
      WHERE NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = x.indexrelid AND k.conrelid = old)) \
     SELECT format('name of %s on %s', c.name, p.old), false, \
     CASE WHEN is_constraint THEN format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', o, name, x.new) \
     ELSE format('ALTER INDEX %I.%I RENAME TO %I', s.nspname, name, x.new) END \
     FROM p JOIN pg_class t ON t.oid = p.old JOIN pg_namespace s ON s.oid = t.relnamespace, c, LATERAL \
     (SELECT now || regexp_replace(substr(name, length(was) + 1), '^_[0-9a-f]{8}(_.*_idx)$', '\\1') AS new) x \
     WHERE starts_with(name, was || '_') AND octet_length(x.new) <= 63 ORDER BY 1";

pub(super) const REFERRING: &str = "WITH t AS (SELECT to_regclass(u)::oid AS oid, n - 1 AS n FROM unnest($1::text[]) WITH ORDINALITY x(u, n)) \
     SELECT format('foreign key %I of table %s to %s', k.conname, k.conrelid::regclass, k.confrelid::regclass), t.n, \
     k.conrelid::regclass::text, k.confdeltype IN ('a', 'r'), has_table_privilege(k.conrelid, 'SELECT'), \
     (SELECT json_agg(json_build_array(quote_ident(o.attname), quote_ident(f.attname)) ORDER BY c.n)::text \
     FROM unnest(k.conkey, k.confkey) WITH ORDINALITY c(own, other, n) \
     JOIN pg_attribute o ON o.attrelid = k.conrelid AND o.attnum = c.own \
     JOIN pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = c.other) \
     FROM pg_constraint k JOIN t ON t.oid = k.confrelid WHERE k.contype = 'f' AND k.conparentid = 0 \
     AND k.conrelid NOT IN (SELECT oid FROM t WHERE oid IS NOT NULL) ORDER BY 1";

/// The service's own views that read a table, with their definitions.
pub(super) const VIEWS: &str = ", v AS (SELECT DISTINCT w.ev_class AS oid FROM p JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass \
     AND d.refobjid = old AND d.classid = 'pg_rewrite'::regclass JOIN pg_rewrite w ON w.oid = d.objid AND w.rulename = '_RETURN' \
     JOIN pg_class c ON c.oid = w.ev_class AND c.relkind = 'v' \
     WHERE within AND pg_has_role(c.relowner, 'USAGE') AND w.ev_class <> ALL(ARRAY(SELECT to_regclass(u)::oid FROM unnest($7::text[]) u WHERE to_regclass(u) IS NOT NULL))) ";

pub(super) const FOLLOWING: &str = "SELECT format('view %s on %s', c.oid::regclass, shown), true, \
     format('CREATE OR REPLACE VIEW %s AS %s', c.oid::regclass, rtrim(rtrim(pg_get_viewdef(c.oid)), ';')) \
     || CASE WHEN c.reloptions IS NULL THEN '' ELSE format('; ALTER VIEW %s SET (%s)', c.oid::regclass, array_to_string(c.reloptions, ', ')) END \
     FROM p, v JOIN pg_class c ON c.oid = v.oid ORDER BY 1";

pub(super) const LOCK_VIEWS: &str = "SELECT format('ALTER VIEW %s OWNER TO %I', c.oid::regclass, pg_get_userbyid(c.relowner)) \
     FROM v JOIN pg_class c ON c.oid = v.oid ORDER BY 1";

pub(super) const LOCK_TABLES: &str = "SELECT DISTINCT format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', k.conrelid::regclass) FROM p \
     JOIN pg_constraint k ON k.contype = 'f' AND k.confrelid = old AND k.conparentid = 0 AND k.conrelid <> ALL(tables) \
     JOIN pg_class c ON c.oid = k.conrelid AND pg_has_role(c.relowner, 'USAGE') ORDER BY 1";

/// What is on the view `$1` with the columns `$2`, except its owner, options, grants and comments.
pub(super) const RESTORED: &str = "WITH p AS (SELECT $1::text AS o, $1::text::regclass AS old, $2::text[] AS columns) \
     SELECT * FROM (SELECT format('trigger %I on view %s', t.tgname, old) AS what, true, pg_get_triggerdef(t.oid) \
     || CASE WHEN obj_description(t.oid, 'pg_trigger') IS NULL THEN '' ELSE format('; COMMENT ON TRIGGER %I ON %s IS %L', t.tgname, o, obj_description(t.oid, 'pg_trigger')) END \
     FROM p JOIN pg_trigger t ON t.tgrelid = old AND NOT t.tgisinternal \
     UNION ALL SELECT format('rule %I on view %s', r.rulename, old), true, pg_get_ruledef(r.oid) \
     || CASE WHEN obj_description(r.oid, 'pg_rewrite') IS NULL THEN '' ELSE format('; COMMENT ON RULE %I ON %s IS %L', r.rulename, o, obj_description(r.oid, 'pg_rewrite')) END \
     FROM p JOIN pg_rewrite r ON r.ev_class = old AND r.rulename <> '_RETURN' \
     UNION ALL SELECT format('default of column %I of view %s', a.attname, old), true, \
     format('ALTER VIEW %s ALTER COLUMN %I SET DEFAULT %s', o, a.attname, pg_get_expr(f.adbin, f.adrelid)) \
     FROM p JOIN pg_attribute a ON a.attrelid = old AND a.attname = ANY(columns) \
     JOIN pg_attrdef f ON f.adrelid = old AND f.adnum = a.attnum \
     UNION ALL SELECT format('security label of %s on view %s%s', l.provider, old, coalesce(', column ' || quote_ident(a.attname), '')), true, \
     format('SECURITY LABEL FOR %I ON %s %s%s IS %L', l.provider, CASE WHEN l.objsubid > 0 THEN 'COLUMN' ELSE 'VIEW' END, o, \
       coalesce('.' || quote_ident(a.attname), ''), l.label) \
     FROM p JOIN pg_seclabel l ON l.classoid = 'pg_class'::regclass AND l.objoid = old \
     LEFT JOIN pg_attribute a ON l.objsubid > 0 AND a.attrelid = old AND a.attnum = l.objsubid \
     WHERE l.objsubid = 0 OR a.attname = ANY(columns)) x ORDER BY what";

/// Rules and defaults that use columns which the new view will not have.
pub(super) const UNFIT: &str = "WITH p AS (SELECT $1::text::regclass AS old, $2::text[] AS columns) \
     SELECT DISTINCT format('rule %I on view %s uses column %I', r.rulename, old, a.attname) \
     FROM p JOIN pg_rewrite r ON r.ev_class = old AND r.rulename <> '_RETURN' \
     JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass \
     AND d.refobjid = old AND d.refobjsubid > 0 JOIN pg_attribute a ON a.attrelid = old AND a.attnum = d.refobjsubid \
     WHERE a.attname <> ALL(columns) \
     UNION SELECT format('column %I of view %s has a default', a.attname, old) FROM p \
     JOIN pg_attrdef f ON f.adrelid = old JOIN pg_attribute a ON a.attrelid = old AND a.attnum = f.adnum \
     WHERE a.attname <> ALL(columns) ORDER BY 1";

/// The valid indexes. Each row says whether the index has only plain columns, and lists them.
pub(super) const HAS_INDEXES: &str = "SELECT c.relname::text, i.indisunique, i.indpred IS NULL AND i.indexprs IS NULL, \
     (SELECT jsonb_agg(a.attname ORDER BY x.ord)::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY x(num, ord) \
     LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = x.num AND x.num <> 0) \
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1::text::regclass AND i.indisvalid";

pub(super) const HAS_CHECKS: &str = "SELECT conname::text FROM pg_constraint WHERE conrelid = $1::text::regclass AND contype = 'c' \
     AND convalidated AND conname::text = ANY($2::text[])";

pub(super) const HAS_GENERATED: &str = "SELECT attname::text FROM pg_attribute WHERE attrelid = $1::text::regclass AND attgenerated <> '' \
     AND NOT attisdropped";

pub(super) const HAS_REFERENCES: &str = "SELECT (SELECT jsonb_agg(a.attname ORDER BY x.ord)::text \
     FROM unnest(k.conkey) WITH ORDINALITY x(num, ord) JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.num) \
     FROM pg_constraint k WHERE k.conrelid = $1::text::regclass AND k.contype = 'f'";

/// What a person added to a table beyond its definition, in words.
pub(super) const ADDED: &str = "SELECT format('%s %s', CASE WHEN w.con IS NULL THEN 'index' ELSE 'constraint' END, w.name) FROM want w \
     UNION ALL SELECT format('constraint %I', k.conname) FROM p JOIN pg_constraint k ON k.conrelid = old \
     WHERE k.contype = 'c' AND NOT starts_with(k.conname::text, 'readside_') OR k.contype = 'f' AND k.confrelid <> ALL(tables) \
     UNION ALL SELECT format('trigger %I', t.tgname) FROM p JOIN pg_trigger t ON t.tgrelid = old AND NOT t.tgisinternal \
     UNION ALL SELECT format('rule %I', r.rulename) FROM p JOIN pg_rewrite r ON r.ev_class = old \
     UNION ALL SELECT format('policy %I', l.polname) FROM p JOIN pg_policy l ON l.polrelid = old \
     WHERE NOT starts_with(l.polname::text, 'readside_') \
     UNION ALL SELECT 'row-level security' FROM p JOIN pg_class c ON c.oid = old WHERE c.relrowsecurity \
     AND NOT EXISTS (SELECT 1 FROM pg_policy l WHERE l.polrelid = old AND starts_with(l.polname::text, 'readside_')) \
     UNION ALL SELECT format('statistics %I', e.stxname) FROM p JOIN pg_statistic_ext e ON e.stxrelid = old ORDER BY 1";
