import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { EventEmitter } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { runCli } from '../cli/run-cli.ts';

const main = join(import.meta.dirname, '../main.ts');
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'documents-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command line in this process: a process of its own costs more than what it does. */
async function microbosh(
  argv: readonly string[],
  stdin = '',
  env: Record<string, string> = {},
): Promise<Finished> {
  const printed = { stdout: '', stderr: '' };
  const stream = (name: keyof typeof printed) =>
    Object.assign(new EventEmitter(), { write: (text: string) => (printed[name] += text) });
  const standIn = Object.assign(new EventEmitter(), {
    env: { ...process.env, ...env },
    cwd: () => folder,
    stdin: Readable.from([stdin]),
    stdout: stream('stdout'),
    stderr: stream('stderr'),
  }) as unknown as NodeJS.Process;
  const code = await runCli(argv, '1', standIn);
  return { code, ...printed };
}

function microboshProcess(argv: readonly string[]): Promise<Finished> {
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...argv], { cwd: folder, timeout: 60_000 }, (error, stdout, stderr) => {
      resolve({
        code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1,
        stdout,
        stderr,
      });
    });
  });
}

function file(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return name;
}

describe('interpolate', () => {
  it('applies operations, takes variables from every kind of flag and prints YAML', async () => {
    file('m.yml', 'a: ((v))\nb: ((f))\nc: ((l))\nd: ((e))\ng: ((missing))\n');
    file('ops.yml', '- {type: replace, path: "/z?", value: 1}\n');
    file('content', 'text\n');
    file('vars.yml', 'l: [1]\n');

    const result = await microbosh(
      [
        'interpolate',
        'm.yml',
        '-v',
        'v=yes',
        '--var-file',
        'f=content',
        '-l',
        'vars.yml',
        '--vars-env',
        'MY',
        '-o',
        'ops.yml',
      ],
      '',
      { MY_e: '{x: 1}' },
    );

    expect(result).toEqual({
      code: 0,
      stdout: 'a: true\nb: |\n  text\nc:\n- 1\nd:\n  x: 1\ng: ((missing))\nz: 1\n',
      stderr: '',
    });
  });

  it('reads standard input, and prints a text at a path as it is', async () => {
    const { code, stdout } = await microbosh(['int', '-', '--path', '/a/0'], 'a: ["line 1\\nline 2"]\n');

    expect([code, stdout]).toEqual([0, 'line 1\nline 2\n']);
  });

  it('prints the document as a block under --json', async () => {
    const { stdout } = await microbosh(['int', '-', '--json'], 'b: 1\na: 2\n');

    expect(JSON.parse(stdout)).toEqual({ Tables: null, Blocks: ['a: 2\nb: 1\n'], Lines: null });
  });

  it('fails for missing and unused variables together, with places', async () => {
    const { code, stderr } = await microbosh(
      ['int', '-', '-v', 'n=1', '--var-errs', '--var-errs-unused'],
      'a: ((x))\n',
    );

    expect(code).toBe(1);
    expect(stderr).toContain('Expected to find variables:');
    expect(stderr).toContain('- x (-:1:4)');
    expect(stderr).toContain('Expected to use variables:');
    expect(stderr).toContain('Exit code 1');
  });

  it.each([
    [['int', 'nowhere.yml'], "The manifest 'nowhere.yml' cannot be read: it does not exist"],
    [['int', '-', '-o', 'nowhere.yml'], 'The ops file'],
    [['int', '-', '-l', 'nowhere.yml'], 'The variables file'],
    [['int', '-', '--var-file', 'x=nowhere'], 'The variable file'],
    [['int', '-', '--path', 'x'], "Expected to start with '/'"],
    [['int', '-', '--path', '/x'], "Expected to find a map key 'x' for path '/x'"],
  ])('%j fails with %s', async (argv, message) => {
    const { code, stderr } = await microbosh(argv, 'a: 1\n');

    expect(code).toBe(1);
    expect(stderr).toContain(message);
  });
});

describe('vars', () => {
  const definitions =
    'variables:\n- {name: p, type: password}\n- {name: ca, type: certificate, options: {is_ca: true, common_name: ca, duration: 10, key_length: 2048}}\n- {name: tls, type: certificate, options: {ca: ca, common_name: x, key_length: 2048}}\n';

  beforeEach(() => {
    file('v.yml', definitions);
  });

  it('are generated into a file that only the owner can read', async () => {
    const { code } = await microbosh(['int', 'v.yml', '--vars-store', 'sub/creds.yml']);

    expect(code).toBe(0);
    expect(statSync(join(folder, 'sub/creds.yml')).mode & 0o777).toBe(0o600);
  });

  it('are all kept when several processes generate into one store', async () => {
    const names = ['a', 'b', 'c', 'd'];
    for (const name of names) {
      const more = [1, 2, 3].map((number) => `- {name: ${name}${number}, type: ssh}\n`).join('');
      file(`${name}.yml`, `variables:\n- {name: common, type: password}\n${more}x: ((common))\n`);
    }

    const results = await Promise.all(
      names.map((name) => microboshProcess(['int', `${name}.yml`, '--vars-store', 'shared/creds.yml'])),
    );

    expect(results.map(({ code, stderr }) => [code, stderr])).toEqual(names.map(() => [0, '']));
    const stored = readFileSync(join(folder, 'shared/creds.yml'), 'utf8');
    const expected = [
      ...names.flatMap((name) => [1, 2, 3].map((number) => `${name}${number}`)),
      'common',
    ].sort();
    expect([...stored.matchAll(/^([a-z]+\d?):/gm)].map(([, name]) => name)).toEqual(expected);
    const common = /^common: (.*)$/m.exec(stored)?.[1];
    for (const { stdout } of results) expect(stdout).toContain(`x: ${common}\n`);
    expect(readdirSync(join(folder, 'shared'))).toEqual(['creds.yml']);
  });

  it('check answers 2 and names places when there is something to do, and 0 otherwise', async () => {
    await microbosh(['int', 'v.yml', '--vars-store', 'sub/creds.yml']);
    const found = await microbosh(['vars', 'check', 'v.yml', '--vars-store', 'sub/creds.yml']);
    const fine = await microbosh(['vars', 'check', 'v.yml', '--vars-store', 'sub/creds.yml', '--days', '3']);

    expect(found.code).toBe(2);
    expect(found.stdout).toMatch(
      /^v\.yml:3:3: Variable 'ca' \(certificate\) expires on \d{4}-\d\d-\d\d, in \d+ days\n$/,
    );
    expect(fine).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  it('check generates nothing and reports what has no value', async () => {
    const { code, stdout } = await microbosh([
      'vars',
      'check',
      'v.yml',
      '--vars-store',
      'none.yml',
      '--json',
    ]);

    expect(code).toBe(2);
    expect(
      stdout
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { kind: string }).kind),
    ).toEqual(['missing', 'missing', 'missing']);
    expect(() => statSync(join(folder, 'none.yml'))).toThrow();
  });

  it('rotate makes a CA again with what it signs and keeps the previous store', async () => {
    const path = join(folder, 'sub/creds.yml');
    await microbosh(['int', 'v.yml', '--vars-store', 'sub/creds.yml']);
    const before = readFileSync(path, 'utf8');

    const { code, stdout } = await microbosh([
      'vars',
      'rotate',
      'v.yml',
      'ca',
      '--vars-store',
      'sub/creds.yml',
    ]);

    expect([code, stdout]).toEqual([0, `Made again: ca, tls\nPrevious values are in ${path}.previous\n`]);
    expect(readFileSync(`${path}.previous`, 'utf8')).toBe(before);
    expect(statSync(`${path}.previous`).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, 'utf8')).not.toBe(before);
  });

  it('check --fix makes again what it finds, keeps the previous store, and leaves nothing to find', async () => {
    const path = join(folder, 'fixed/creds.yml');
    const flags = ['--vars-store', 'fixed/creds.yml', '--days', '3'];
    await microbosh(['int', 'v.yml', ...flags.slice(0, 2)]);
    const before = readFileSync(path, 'utf8');
    file('changed.yml', definitions.replace('common_name: ca,', 'common_name: other,'));
    const fixed = await microbosh(['vars', 'check', 'changed.yml', '--fix', ...flags]);

    expect(fixed.stderr).toBe('');
    expect(fixed.code).toBe(0);
    expect(fixed.stdout).toBe(`Made again: ca, tls\nPrevious values are in ${path}.previous\n`);
    expect(readFileSync(`${path}.previous`, 'utf8')).toBe(before);
    const after = readFileSync(path, 'utf8');
    expect(/^p: (.*)$/m.exec(after)?.[1]).toBe(/^p: (.*)$/m.exec(before)?.[1]);
    const again = await microbosh(['vars', 'check', 'changed.yml', '--fix', ...flags]);
    expect(again).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(readFileSync(path, 'utf8')).toBe(after);
  });

  it('check --fix answers 2 for what it leaves', async () => {
    const flags = ['--vars-store', 'left/creds.yml', '--days', '3', '--json'];
    await microbosh(['int', 'v.yml', ...flags.slice(0, 2)]);
    file(
      'kept.yml',
      definitions.replace(
        'type: password',
        'type: password, update_mode: no-overwrite, options: {length: 9}',
      ),
    );
    const { code, stdout } = await microbosh(['vars', 'check', 'kept.yml', '--fix', ...flags]);

    expect(code).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({ name: 'p', kind: 'options-changed', line: 2 });
    expect(() => statSync(join(folder, 'left/creds.yml.previous'))).toThrow();
  });

  it.each([[['rotate', 'v.yml', 'ca']], [['check', 'v.yml', '--fix']]])('%j needs a store', async (argv) => {
    const { code, stderr } = await microbosh(['vars', ...argv]);

    expect(code).toBe(1);
    expect(stderr).toContain('--vars-store is needed');
  });
});

describe('an encrypted vars-store', () => {
  const definitions = 'variables:\n- {name: p, type: password}\n- {name: q, type: password}\nx: ((p))\n';
  const inFolder = (name: string) => join(folder, name);
  let key: Record<string, string>;

  beforeEach(() => {
    file('e.yml', definitions);
    writeFileSync(inFolder('key'), 'a key that is long enough\n', { mode: 0o600 });
    key = { MICROBOSH_VARS_KEY_FILE: inFolder('key') };
  });

  it('is used like any other with its key, and stays encrypted', async () => {
    const store = ['--vars-store', 'sealed/creds.yml'];
    const plain = await microbosh(['int', 'e.yml', ...store, '--path', '/x']);
    await microbosh(['vars', 'rotate', 'e.yml', 'q', ...store]);
    const paths = ['sealed/creds.yml', 'sealed/creds.yml.previous'].map(inFolder);
    const encrypted = await microbosh(['vars', 'encrypt', 'sealed/creds.yml'], '', key);

    expect(encrypted).toEqual({
      code: 0,
      stdout: paths.map((path) => `${path} is encrypted.\n`).join(''),
      stderr: '',
    });
    for (const path of paths) {
      expect(readFileSync(path, 'utf8')).toMatch(/^microbosh encrypted vars-store, format 1\n[\w+/=]+\n$/);
      expect(statSync(path).mode & 0o777).toBe(0o600);
    }
    expect(await microbosh(['int', 'e.yml', ...store, '--path', '/x'], '', key)).toEqual(plain);
    const given = { MICROBOSH_VARS_KEY: 'a key that is long enough' };
    expect((await microbosh(['vars', 'rotate', 'e.yml', 'p', ...store], '', given)).code).toBe(0);
    for (const path of paths) expect(readFileSync(path, 'utf8')).toContain('encrypted vars-store');
    expect((await microbosh(['int', 'e.yml', ...store, '--path', '/x'], '', key)).stdout).not.toBe(
      plain.stdout,
    );
    const again = await microbosh(['vars', 'encrypt', 'sealed/creds.yml'], '', key);
    expect(again).toEqual({ code: 0, stdout: 'It is encrypted already.\n', stderr: '' });

    const decrypted = await microbosh(['vars', 'decrypt', 'sealed/creds.yml'], '', key);
    expect(decrypted.stdout).toContain(`${paths[0]} is decrypted.\n`);
    for (const path of paths) expect(readFileSync(path, 'utf8')).toMatch(/^p: \w+\nq: \w+\n$/);
  });

  it('is encrypted from its beginning when a key is given', async () => {
    const { code } = await microbosh(['int', 'e.yml', '--vars-store', 'fresh/creds.yml'], '', key);

    expect(code).toBe(0);
    expect(readFileSync(inFolder('fresh/creds.yml'), 'utf8')).toContain('encrypted vars-store');
  });

  it.each([
    ['without its key', {}, 'is encrypted, and no key is given'],
    ['with another key', { MICROBOSH_VARS_KEY: 'another key, long enough' }, 'the key is another one'],
  ])('is left alone %s', async (_name, env: Record<string, string>, says) => {
    const store = ['--vars-store', 'shut/creds.yml'];
    await microbosh(['int', 'e.yml', ...store], '', key);
    const before = readFileSync(inFolder('shut/creds.yml'), 'utf8');
    for (const argv of [
      ['int', 'e.yml', ...store],
      ['vars', 'check', 'e.yml', '--fix', ...store],
      ['vars', 'rotate', 'e.yml', 'p', ...store],
      ['vars', 'decrypt', 'shut/creds.yml'],
      ['create-env', 'e.yml', ...store],
    ]) {
      const { code, stderr } = await microbosh(argv, '', env);
      expect([code, stderr], argv.join(' ')).toEqual([1, expect.stringContaining(says)]);
    }

    expect(readFileSync(inFolder('shut/creds.yml'), 'utf8')).toBe(before);
    expect(readdirSync(folder).filter((name) => name.includes('state.json'))).toEqual([]);
  });

  it('needs a key that only its owner can read, and a store', async () => {
    await microbosh(['int', 'e.yml', '--vars-store', 'open/creds.yml']);
    writeFileSync(inFolder('open-key'), 'a key that is long enough');
    chmodSync(inFolder('open-key'), 0o644);
    const open = { MICROBOSH_VARS_KEY_FILE: inFolder('open-key') };
    const results = [
      await microbosh(['vars', 'encrypt', 'open/creds.yml'], '', open),
      await microbosh(['vars', 'encrypt', 'open/creds.yml']),
      await microbosh(['vars', 'encrypt', 'open/none.yml'], '', key),
    ];

    expect(results.map(({ code }) => code)).toEqual([1, 1, 1]);
    expect(results.map(({ stderr }) => stderr)).toEqual([
      expect.stringContaining('is open to everybody'),
      expect.stringContaining('No key for the vars-store is given'),
      expect.stringContaining("The vars-store 'open/none.yml' cannot be read: it does not exist"),
    ]);
    expect(readFileSync(inFolder('open/creds.yml'), 'utf8')).toMatch(/^p: /);
  });
});

describe('schema', () => {
  it.each([[[]], [['--micro']]])('manifest %j is a JSON Schema with descriptions', async (flags) => {
    const { code, stdout } = await microbosh(['schema', 'manifest', ...flags]);
    const schema = JSON.parse(stdout) as { $schema: string; properties: Record<string, unknown> };

    expect(code).toBe(0);
    expect(schema.$schema).toContain('json-schema.org');
    expect(Object.keys(schema.properties)).toContain('name');
  });
});
