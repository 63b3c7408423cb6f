import { describe, expect, it } from 'vitest';
import { parseOriginalDump } from './original-dump.ts';

const ROW = { instanceId: 'vm-1', settings: '{"q":"it\'s \\"x\\"","t":"a\\tb","n":1}' };

describe('a dump of the original', () => {
  it('of sqlite3 is read', () => {
    const dump = `PRAGMA foreign_keys=OFF;
CREATE TABLE registry_instances (id integer, instance_id varchar(255), settings text);
INSERT INTO registry_instances VALUES(1,'vm-1','${ROW.settings.replaceAll("'", "''")}');
INSERT INTO "registry_instances" VALUES(2,'vm-2','{}');
`;

    expect(parseOriginalDump(dump)).toEqual([ROW, { instanceId: 'vm-2', settings: '{}' }]);
  });

  it('of mysqldump is read: many rows in one statement, backslashes escaped', () => {
    const mysql = ROW.settings.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('"', '\\"');
    const dump = `-- MySQL dump 10.13
INSERT INTO \`registry_instances\` VALUES (1,'vm-1','${mysql}'),(2,'vm-2','{}');
`;

    expect(parseOriginalDump(dump)).toEqual([ROW, { instanceId: 'vm-2', settings: '{}' }]);
  });

  it('of pg_dump is read: COPY with its escapes', () => {
    const copy = ROW.settings.replaceAll('\\', '\\\\');
    const dump = `COPY public.registry_instances (id, instance_id, settings) FROM stdin;
1\tvm-1\t${copy}
\\.

COPY public.other (a) FROM stdin;
x
\\.
`;

    expect(parseOriginalDump(dump)).toEqual([ROW]);
  });

  it('that ends inside a row, or is another one, is refused', () => {
    expect(() => parseOriginalDump("INSERT INTO registry_instances VALUES (1,'vm-1','{")).toThrow(
      /ends inside/,
    );
    expect(() => parseOriginalDump('SELECT 1;')).toThrow(/does not mention/);
  });
});
