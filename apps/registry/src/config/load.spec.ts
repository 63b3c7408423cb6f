import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseConfig } from './load.ts';
import { isSchema, printConfig, propertiesOf } from './print.ts';
import { ConfigDocument } from './schema.ts';

const parse = (text: string) => parseConfig(text, 'registry.yml');
const withHttp = (http: string) => parse(`http: {${http}}\ndb: {adapter: sqlite, database: /r.db}`).config;
const withDb = (db: string) => parse(`http: {port: 1}\ndb: {${db}}`).config.db;

const ORIGINAL = `loglevel: DEBUG
http: {port: 25777, user: admin, password: 1234, additional_users: [{username: old, password: old}]}
db: {adapter: postgres, host: 127.0.0.1, port: 5432, user: bosh, password: '', database: bosh_registry,
     connection_options: {max_connections: 32, pool_timeout: 10}}
cloud: {plugin: aws, aws: {region: us-east-1, access_key_id: A, secret_access_key: B, max_retries: 2}}
`;

describe('the configuration', () => {
  it('of the original is accepted as it is', () => {
    const { config, warnings } = parse(ORIGINAL);

    expect(warnings).toEqual([]);
    expect(config).toMatchObject({
      logLevel: 'debug',
      listeners: [{ address: '0.0.0.0', port: 25_777 }],
      admins: [
        { user: 'admin', password: '1234', access: 'read-write' },
        { user: 'old', password: 'old', access: 'read-write' },
      ],
      db: { adapter: 'postgres', tls: undefined, connection: { host: '127.0.0.1', max: 32 } },
      cloud: { plugin: 'aws', region: 'us-east-1', maxRetries: 2 },
      loopbackReads: false,
    });
  });

  it.each([
    ['[]', "Incorrect file format in 'registry.yml', Hash expected"],
    ['http: {', "Cannot load YAML file at 'registry.yml'"],
    ['db: {database: x}', 'HTTP configuration is missing from config file'],
    ['http: {port: 1}', 'Database configuration is missing from config file'],
    ['http: {port: 1}\ndb: {database: x}\ncloud: x', 'Cloud configuration is missing from config file'],
    ['http: {port: 1}\ndb: {database: x}\ncloud: {}', 'Cloud plugin is missing from config file'],
    ['http: {port: 1}\ndb: {database: x}\ncloud: {plugin: azure}', 'Could not find Provider Plugin: azure'],
    ['http: {port: 1}\ndb: {database: x}\ncloud: {plugin: aws}', 'Invalid AWS configuration parameters'],
    [
      'http: {port: 1}\ndb: {database: x}\ncloud: {plugin: openstack}',
      'Invalid OpenStack configuration parameters',
    ],
    [
      'http: {port: 1}\ndb: {database: x}\ncloud: {plugin: aws, aws: {region: r, credentials_source: env_or_profile, access_key_id: a}}',
      "Can't use access_key_id and secret_access_key with env_or_profile credentials_source",
    ],
    ['http: {port: 1}\ndb: {adapter: mysql2, database: x}', 'import --original-dump'],
    ['http: {port: 70000}\ndb: {database: x}', 'http.port'],
    ['http: {port: 1, user: "a:b", password: x}\ndb: {database: x}', 'a name with a colon'],
    [
      'http: {port: 1, tls: {certificate: x}}\ndb: {database: x}',
      'certificate and private_key are both needed',
    ],
    ['http: {port: 1, trusted_proxies: [here]}\ndb: {database: x}', 'neither an address nor a network'],
    ['http: {port: 1}\ndb: {database: ":memory:"}', 'settings must survive'],
    [
      'http: {port: 1, tls: {certificate: c, private_key: k, client_ca: a, client_identities: [{common_name: "*", access: read-write}]}}\ndb: {database: x}',
      'would give everybody',
    ],
  ])('is refused with the known words: %s', (text, message) => {
    expect(() => parse(text)).toThrow(message);
  });

  it('names all problems at once', () => {
    expect(() => parse('loglevel: loud\nhttp: {port: 1, address: here}\ndb: {adapter: sqlite}')).toThrow(
      /loglevel[^]*address[^]*db\.database/,
    );
  });

  it('warns about keys without effect, with the nearest known one', () => {
    const { warnings } = parse('http: {port: 1, usr: x}\ndb: {database: x}\nlogleve: info');

    expect(warnings).toEqual([
      'http.usr has no effect; do you mean user?',
      'logleve has no effect; do you mean loglevel?',
    ]);
  });

  it('makes one listener with TLS, and a plain one only when asked', () => {
    const tls = 'tls: {certificate: c, private_key: k}';

    expect(withHttp(`port: 1, ${tls}`).listeners).toEqual([
      { address: '0.0.0.0', port: 1, tls: { certificate: 'c', privateKey: 'k' } },
    ]);
    expect(withHttp(`port: 1, ${tls}, plain: {port: 2}`).listeners[1]).toEqual({
      address: '127.0.0.1',
      port: 2,
    });
  });

  it.each([
    ['', undefined],
    ['tls: {enabled: true}', { verify: true }],
    [
      'tls: {enabled: true, cert: {ca: /ca}, bosh_internal: {ca_provided: true}}',
      { verify: true, ca: '/ca' },
    ],
    [
      'tls: {enabled: true, cert: {certificate: /c, private_key: /k}, bosh_internal: {mutual_tls_enabled: true}}',
      { verify: true, certificate: '/c', privateKey: '/k' },
    ],
    ['tls: {enabled: true}, connection_options: {sslmode: require}', { verify: false }],
    ['tls: {enabled: true}, connection_options: {sslmode: disable}', undefined],
  ])('means the database TLS of the original: %s', (tls, expected) => {
    expect(withDb(`adapter: postgres, database: d${tls === '' ? '' : `, ${tls}`}`)).toMatchObject({
      tls: expected,
    });
  });

  it('keeps the key file beside a SQLite database', () => {
    expect(withHttp('port: 1').encryption).toEqual({ mode: 'file', keyFile: '/r.db.key' });
  });

  it('is printed with defaults and without secrets, and means the same when it is read again', () => {
    const secret = 's3cretpassword';
    const text = `http: {port: 1, user: admin, password: ${secret}}\ndb: {adapter: sqlite, database: /r.db, password: ${secret}}`;

    const printed = printConfig(parse(text).document);

    expect(printed).not.toContain(secret);
    expect(parse(printed).config).toEqual({
      ...parse(text).config,
      admins: [{ user: 'admin', access: 'read-write', password: '<redacted>' }],
    });
  });

  it('is documented key by key', () => {
    const page = readFileSync(
      join(import.meta.dirname, '../../../../docs/reference/registry-config.md'),
      'utf8',
    );
    const missing: string[] = [];
    const visit = (schema: object, place: string) => {
      if (!isSchema(schema)) return;
      for (const [key, property] of Object.entries(propertiesOf(schema))) {
        const path = place === '' ? key : `${place}.${key}`;
        if (!isSchema(property)) continue;
        const isArray = 'type' in property && property.type === 'array' && 'items' in property;
        const inner = isArray ? property.items : property;
        const isSection = isSchema(inner) && Object.keys(propertiesOf(inner)).length > 0;
        if (isSection) visit(inner, isArray ? `${path}[]` : path);
        else if (!page.includes(`| \`${path}\` |`)) missing.push(path);
      }
    };
    visit(ConfigDocument, '');

    expect(missing).toEqual([]);
  });

  it('has no key of the example in the documentation that it refuses', () => {
    const page = readFileSync(
      join(import.meta.dirname, '../../../../docs/reference/registry-config.md'),
      'utf8',
    );
    const [example = ''] = /loglevel: info\nhttp:[^]*?(?=```)/.exec(page) ?? [];

    expect(parse(example).warnings).toEqual([]);
  });
});
