import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isJsonObject, type JsonObject } from '@microbosh/errors';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { directorInput } from '../../test/support/director.ts';
import { evaluateManifest } from '../evaluate-manifest.ts';
import { parseYaml } from '../yaml/parse-yaml.ts';
import { toJson } from '../yaml/yaml-node.ts';
import { checkVariables } from './check-variables.ts';
import { rotateVariables } from './rotate-variables.ts';
import { sha512Crypt } from './generate/sha512-crypt.ts';

/** Judged by OpenSSL and ssh-keygen, not by our own code. */
let folder: string;
let saved: string | undefined;
let values: JsonObject;
const now = new Date('2026-03-01T12:00:00Z');
const store = {
  file: 'creds.yml',
  load: () => Promise.resolve(saved),
  save: (text: string) => {
    saved = text;
    return Promise.resolve();
  },
};

const section = `
variables:
- {name: root, type: certificate, options: {is_ca: true, common_name: root CA}}
- {name: middle, type: certificate, options: {is_ca: true, ca: root, common_name: middle, duration: 1000, key_length: 2048}}
- name: server
  type: certificate
  options: {ca: middle, common_name: ((ip)), organization: Example AG, alternative_names: [((ip)), "*.example.com", "fd00::1"], extended_key_usage: [server_auth, client_auth], key_length: 4096}
- {name: client, type: certificate, options: {ca: root, common_name: client, extended_key_usage: [client_auth], key_usage: [digital_signature], duration: 10, key_length: 2048}}
- {name: plain, type: certificate, options: {ca: root, key_length: 2048}}
- {name: key, type: rsa}
- {name: login, type: ssh, options: {ignored: true}}
- {name: user, type: user, options: {username: op}}
- {name: word, type: password, options: {length: 33}}
`;
const input = {
  text: section,
  file: 'm.yml',
  varsStore: store,
  now: () => now,
  variables: { assignments: ['ip=10.0.0.6'] },
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'generated-'));
  await evaluateManifest(input);
  values = read();
});

afterAll(() => {
  rmSync(folder, { recursive: true });
});

function read(): JsonObject {
  const value = toJson(parseYaml(saved ?? '', { file: 'creds.yml' }));
  return isJsonObject(value) ? value : {};
}

function part(name: string, key: string, from = values): string {
  const value = from[name];
  const text = isJsonObject(value) ? value[key] : undefined;
  if (typeof text !== 'string') throw new Error(`no ${name}.${key}`);
  return text;
}

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

const openssl = (...argv: string[]) =>
  execFileSync('openssl', argv, { encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] });

const describeCertificate = (name: string) =>
  openssl('x509', '-in', file(`${name}.crt`, part(name, 'certificate')), '-noout', '-text');

describe('generated certificates', () => {
  it('form chains that OpenSSL verifies', () => {
    const root = file('root.pem', part('root', 'certificate'));
    const middle = file('middle.pem', part('middle', 'certificate'));
    const server = file('server.pem', part('server', 'certificate'));
    const client = file('client.pem', part('client', 'certificate'));
    const verify = (...more: string[]) =>
      openssl(
        'verify',
        '-attime',
        String(now.getTime() / 1000 + 60),
        '-x509_strict',
        '-CAfile',
        root,
        ...more,
      );

    expect(verify('-untrusted', middle, '-purpose', 'sslserver', server)).toContain('server.pem: OK');
    expect(verify('-purpose', 'sslclient', client)).toContain('client.pem: OK');
    expect(() => verify('-purpose', 'sslserver', client)).toThrow();
  });

  it('have the fields of the original', () => {
    expect(describeCertificate('root')).toMatch(/Subject: C = US, O = Cloud Foundry, CN = root CA/);
    expect(describeCertificate('root')).toMatch(/Key Usage: critical\s+Certificate Sign, CRL Sign/);
    expect(describeCertificate('root')).toMatch(/Basic Constraints: critical\s+CA:TRUE/);
    expect(describeCertificate('root')).toContain('Public-Key: (3072 bit)');
    expect(describeCertificate('server')).toMatch(/Issuer: C = US, O = Cloud Foundry, CN = middle/);
    expect(describeCertificate('server')).toMatch(/Subject: C = US, O = Example AG, CN = 10\.0\.0\.6/);
    expect(describeCertificate('server')).toMatch(/Basic Constraints: critical\s+CA:FALSE/);
    expect(describeCertificate('server')).toMatch(
      /Key Usage: critical\s+Digital Signature, Key Encipherment/,
    );
    expect(describeCertificate('server')).toMatch(
      /TLS Web Server Authentication, TLS Web Client Authentication/,
    );
    expect(describeCertificate('server')).toContain(
      'IP Address:10.0.0.6, DNS:*.example.com, IP Address:FD00:0:0:0:0:0:0:1',
    );
    expect(describeCertificate('server')).toContain('Public-Key: (4096 bit)');
    expect(describeCertificate('server')).toContain('Signature Algorithm: sha256WithRSAEncryption');
    expect(describeCertificate('client')).toMatch(/Key Usage: critical\s+Digital Signature\n/);
    expect(describeCertificate('plain')).toMatch(/Subject: C = US, O = Cloud Foundry\n/);
  });

  it('are valid from the moment they are made, for the days that are asked for', () => {
    const end = (name: string) =>
      openssl('x509', '-in', file('x.pem', part(name, 'certificate')), '-noout', '-enddate', '-startdate');

    expect(end('server')).toBe('notAfter=Mar  1 12:00:00 2027 GMT\nnotBefore=Mar  1 12:00:00 2026 GMT\n');
    expect(end('client')).toContain('notAfter=Mar 11 12:00:00 2026 GMT');
  });

  it('store the direct signer as ca and a key in the form of the original', () => {
    expect(part('server', 'ca')).toBe(part('middle', 'certificate'));
    expect(part('middle', 'ca')).toBe(part('root', 'certificate'));
    expect(part('root', 'ca')).toBe(part('root', 'certificate'));
    expect(part('server', 'private_key')).toMatch(/^-----BEGIN RSA PRIVATE KEY-----\n/);
    const modulus = (kind: string, text: string) =>
      openssl(kind, '-in', file('m.pem', text), '-noout', '-modulus');
    expect(modulus('rsa', part('server', 'private_key'))).toBe(
      modulus('x509', part('server', 'certificate')),
    );
  });

  it('identify keys by the SHA-1 of the modulus, and name their signer by it', () => {
    const modulus =
      openssl('x509', '-in', file('x.pem', part('middle', 'certificate')), '-noout', '-modulus')
        .trim()
        .split('=')[1] ?? '';
    const digest = execFileSync('sha1sum', { input: Buffer.from(modulus, 'hex') })
      .toString()
      .slice(0, 40)
      .toUpperCase();
    const spelled = (digest.match(/../g) ?? []).join(':');

    expect(describeCertificate('middle')).toMatch(new RegExp(`Subject Key Identifier:\\s+${spelled}`));
    expect(describeCertificate('server')).toMatch(
      new RegExp(`Authority Key Identifier:\\s+(keyid:)?${spelled}`),
    );
  });
});

describe('other generated values', () => {
  it('ssh keys are what ssh-keygen makes of the private key', () => {
    const path = file('login.key', part('login', 'private_key'));

    expect(execFileSync('ssh-keygen', ['-y', '-f', path]).toString()).toBe(part('login', 'public_key'));
    const fingerprint = execFileSync('ssh-keygen', ['-l', '-E', 'md5', '-f', path]).toString();
    expect(fingerprint).toContain(`MD5:${part('login', 'public_key_fingerprint')}`);
  });

  it('rsa keys belong together', () => {
    const path = file('key.pem', part('key', 'private_key'));

    expect(openssl('rsa', '-in', path, '-pubout')).toBe(part('key', 'public_key'));
    expect(openssl('rsa', '-in', path, '-noout', '-text')).toContain('Private-Key: (2048 bit');
  });

  it('passwords have the length and letters that are asked for', () => {
    expect(values['word']).toMatch(/^[a-z0-9]{33}$/);
  });

  it("a user's hash is that of the password", () => {
    const hash = part('user', 'password_hash');

    expect(openssl('passwd', '-6', '-salt', hash.split('$')[2] ?? '', part('user', 'password')).trim()).toBe(
      hash,
    );
    expect(part('user', 'username')).toBe('op');
  });

  it.each(['a', 'password', 'ä€😀', 'x'.repeat(63), 'x'.repeat(64), 'x'.repeat(65), 'long '.repeat(40)])(
    'the hash of %j is that of OpenSSL',
    (password) => {
      const wanted = openssl('passwd', '-6', '-salt', 'ab./09AZaz', password).trim();

      expect(sha512Crypt(password, 'ab./09AZaz')).toBe(wanted);
    },
  );
});

describe('vars check and rotate', () => {
  const check = async (more: { text?: string; at?: Date; warnDays?: number } = {}) =>
    checkVariables(await evaluateManifest({ ...input, text: more.text ?? input.text }), {
      now: more.at ?? now,
      ...(more.warnDays === undefined ? {} : { warnDays: more.warnDays }),
    }).map(({ name, kind, message }) => [name, kind, message]);

  it('finds nothing wrong with fresh values but what expires within 30 days', async () => {
    expect(await check()).toEqual([
      ['client', 'expires-soon', "Variable 'client' (certificate) expires on 2026-03-11, in 10 days"],
    ]);
    expect(await check({ warnDays: 5 })).toEqual([]);
  });

  it('finds expired certificates', async () => {
    const found = await check({ at: new Date('2027-03-02') });

    expect(found.map(([name, kind]) => [name, kind])).toEqual([
      ['root', 'expired'],
      ['server', 'expired'],
      ['client', 'expired'],
      ['plain', 'expired'],
    ]);
  });

  it.each([
    ['common_name: client', 'common_name: klient', 'client', "common_name is 'client', wanted 'klient'"],
    ['organization: Example AG, ', '', 'server', "organization is 'Example AG', wanted 'Cloud Foundry'"],
    ['"*.example.com", ', '', 'server', 'alternative_names are'],
    [
      '[client_auth], key',
      '[server_auth], key',
      'client',
      "extended_key_usage is 'client_auth', wanted 'server_auth'",
    ],
    [
      '[digital_signature]',
      '[key_agreement]',
      'client',
      "key_usage is 'digital_signature', wanted 'key_agreement'",
    ],
    ['duration: 10,', 'duration: 20,', 'client', "duration is '10', wanted '20'"],
    ['key_length: 4096', 'key_length: 2048', 'server', "key_length is '4096', wanted '2048'"],
    ['is_ca: true, ca: root, common', 'ca: root, common', 'middle', "is_ca is 'true', wanted 'false'"],
    ['ca: middle', 'ca: root', 'server', "is not signed by the present certificate of 'root'"],
    ['length: 33', 'length: 34', 'word', 'length is 33, wanted 34'],
    ['username: op', 'username: po', 'user', "username is 'op', wanted 'po'"],
  ])('finds a changed option: %s -> %s', async (from, to, name, problem) => {
    expect(input.text).toContain(from);

    const found = (await check({ text: input.text.replace(from, to), warnDays: 0 })).filter(
      (row) => row[0] === name,
    );

    expect(found.map((row) => row[2]).join('\n')).toContain(problem);
  });

  it('makes a CA again together with everything that it signs, in one save, and leaves the rest', async () => {
    const before = values;
    let saves = 0;
    const counting = { ...store, save: (text: string) => ((saves += 1), store.save(text)) };

    const rotated = await rotateVariables({ ...input, varsStore: counting, names: ['middle', 'word'] });

    expect(rotated).toEqual(['middle', 'server', 'word']);
    expect(saves).toBe(1);
    const after = read();
    expect(after['root']).toEqual(before['root']);
    expect(after['login']).toEqual(before['login']);
    expect(after['server']).not.toEqual(before['server']);
    expect(part('server', 'ca', after)).toBe(part('middle', 'certificate', after));
    expect(await check({ warnDays: 0 })).toEqual([]);
  });

  it('reports a certificate whose CA was made again alone', async () => {
    await rotateVariables({ ...input, names: ['middle'], only: true });

    expect(await check({ warnDays: 0 })).toEqual([
      ['server', 'ca-changed', expect.stringContaining("'middle'")],
    ]);
  });

  it.each([
    [['nothing'], [], "The manifest does not define how to generate variable 'nothing'"],
    [['word'], ['word=mine'], "Variable 'word' is given by a flag"],
    [['server'], [], "Variable 'server' cannot be generated"],
  ])('refuses to rotate %j with %j and leaves the store alone', async (names, assignments, wanted) => {
    const before = saved;
    const variables = { assignments: names[0] === 'server' ? [] : ['ip=10.0.0.6', ...assignments] };

    await expect(rotateVariables({ ...input, variables, names })).rejects.toThrow(wanted);
    expect(saved).toBe(before);
  });
});

describe('the director-size manifest', () => {
  it('generates all its variables, and the same store evaluates to the same hash again', async () => {
    let text: string | undefined;
    const port = {
      file: 'creds.yml',
      load: () => Promise.resolve(text),
      save: (next: string) => {
        text = next;
        return Promise.resolve();
      },
    };
    const first = await evaluateManifest({ ...directorInput(), varsStore: port });
    const second = await evaluateManifest({ ...directorInput(), varsStore: port });

    expect(first.generated.length).toBeGreaterThanOrEqual(60);
    expect(second.generated).toEqual([]);
    expect(second.manifestSha).toBe(first.manifestSha);
    expect(checkVariables(second, { now: new Date(), warnDays: 0 })).toEqual([]);
  });
});
