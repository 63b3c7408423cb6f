/**
 * Takes the registry's defences away, one at a time, in a copy, and demands that the test of the attack notices.
 * Usage: npm run mutate:registry [-- WORD]   only the defences whose name contains the word
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';

const root = dirname(import.meta.dirname);
const library = 'libs/registry-server';
const spec = `${library}/src/attacks.int.spec.ts`;

interface Mutation {
  readonly defence: string;
  /** Below the sources of the library. */
  readonly file: string;
  /** Exact texts that stand once in the file, and what takes their place. */
  readonly edits: readonly (readonly [from: string, to: string])[];
  /** Part of the title of the test that has to fail. */
  readonly test: string;
  /** Where only one of the stores has the defence. */
  readonly store?: 'SQLite' | 'PostgreSQL';
}

const ADDRESS = 'access/client-address.ts';
const GATE = 'access/gatekeeper.ts';
const SQLITE = 'adapters/sqlite/sqlite-store.ts';
const POSTGRES = 'adapters/postgres/postgres-store.ts';
const LISTENER = 'http/listener.ts';

const mutations: readonly Mutation[] = [
  {
    defence: 'a request that speaks for others is not this machine',
    file: ADDRESS,
    edits: [[' && !speaksForOthers }', ' }']],
    test: 'do not open the loopback exemption',
  },
  {
    defence: 'a forwarded address is never loopback',
    file: ADDRESS,
    edits: [
      [
        'return { address, isLoopback: false };',
        'return { address, isLoopback: isLoopbackAddress(address) };',
      ],
    ],
    test: 'do not open it through a trusted proxy either',
  },
  {
    defence: 'forwarded headers count only from configured proxies',
    file: ADDRESS,
    edits: [['if (!proxies.includes(socketAddress)) {', 'if (forwarded === undefined) {']],
    test: 'do not choose the address that is compared',
  },
  {
    defence: 'the chain is read from the right end',
    file: ADDRESS,
    edits: [['hops.reverse()', 'hops']],
    test: 'count when a configured proxy sends them',
  },
  {
    defence: 'loopback reads only when switched on',
    file: GATE,
    edits: [['if (this.#allowLoopbackReads && isLoopback)', 'if (isLoopback)']],
    test: 'are refused from loopback unless switched on',
  },
  {
    defence: 'the IaaS has to know the address',
    file: GATE,
    edits: [['if (isOwn) return', 'return']],
    test: 'are decided by the addresses that the IaaS knows',
  },
  {
    defence: 'time limit of questions to the IaaS',
    file: 'access/address-check.ts',
    edits: [
      [
        'Promise.race([this.#source.addressesOf(instanceId, signal), overdue])',
        'this.#source.addressesOf(instanceId, signal)',
      ],
    ],
    test: 'wait for the IaaS only for a while',
  },
  {
    defence: 'one question to the IaaS at a time',
    file: 'access/address-check.ts',
    edits: [
      ['let asking = this.#asking.get(instanceId);', 'let asking: Promise<readonly string[]> | undefined;'],
    ],
    test: 'ask the IaaS once for a storm of reads',
  },
  {
    defence: 'a token is of one instance (SQLite)',
    file: SQLITE,
    edits: [['WHERE t.token_hash = ? AND t.instance_id = ?`', "WHERE t.token_hash = ? AND ? <> ''`"]],
    test: 'read their own instance and no other',
    store: 'SQLite',
  },
  {
    defence: 'a token is of one instance (PostgreSQL)',
    file: POSTGRES,
    edits: [
      ['WHERE t.token_hash = $1 AND t.instance_id = $2`', "WHERE t.token_hash = $1 AND $2::text <> ''`"],
    ],
    test: 'read their own instance and no other',
    store: 'PostgreSQL',
  },
  {
    defence: 'a token is no administrator',
    file: 'http/admission.ts',
    edits: [['if (isDenial(identity)) {', 'if (isDenial(identity) && caller.presented.kind === "none") {']],
    test: 'neither write, delete, list, mint nor see the operations',
  },
  {
    defence: 'a confirmed one-time token is spent',
    file: GATE,
    edits: [['token.confirmedReads >= token.maxReads', 'token.confirmedReads > token.maxReads']],
    test: 'cannot be replayed once the only read is confirmed',
  },
  {
    defence: 'an outdated copy confirms nothing',
    file: 'http/routes/settings.ts',
    edits: [['...(etag === undefined ? {} : { etag }),', '']],
    test: 'are not spent by the confirmation of an outdated copy',
  },
  {
    defence: 'tokens end with their time',
    file: GATE,
    edits: [
      ["if (token.expiresAtMs !== undefined && token.expiresAtMs <= nowMs) return 'expired-token';", ''],
    ],
    test: 'end with their time',
  },
  {
    defence: 'tokens end with their instance (SQLite)',
    file: SQLITE,
    edits: [
      [
        "for (const table of ['microbosh_tokens', 'microbosh_activity', 'microbosh_leases'])",
        "for (const table of ['microbosh_activity', 'microbosh_leases'])",
      ],
    ],
    test: 'end when they are withdrawn',
    store: 'SQLite',
  },
  {
    defence: 'tokens end with their instance (PostgreSQL)',
    file: POSTGRES,
    edits: [
      [
        "for (const table of ['settings', 'tokens', 'activity', 'leases'])",
        "for (const table of ['settings', 'activity', 'leases'])",
      ],
    ],
    test: 'end when they are withdrawn',
    store: 'PostgreSQL',
  },
  {
    defence: 'only the hash of a token is stored',
    file: 'access/read-tokens.ts',
    edits: [["return hash('sha256', token, 'hex');", 'return token;']],
    test: 'are not in the database',
  },
  {
    defence: 'paths are cleaned before they are routed',
    file: 'http/app.ts',
    edits: [["cleanPath(request.url ?? '/')", "request.url ?? '/'"]],
    test: 'resolves dot segments before it looks at the id',
  },
  {
    defence: 'ids have no control characters',
    file: 'http/clean-path.ts',
    edits: [['return !/[', 'return true || !/[']],
    test: 'refuses the id %00',
  },
  {
    defence: 'ids are short',
    file: 'http/clean-path.ts',
    edits: [['Buffer.byteLength(id) > MAX_ID_BYTES', 'false']],
    test: 'refuses the id xxx',
  },
  {
    defence: 'ids are parameters of statements (SQLite)',
    file: SQLITE,
    edits: [
      [
        `'DELETE FROM microbosh_settings WHERE instance_id = ?',
        removal.instanceId,`,
        "`DELETE FROM microbosh_settings WHERE instance_id = '${removal.instanceId}'`,",
      ],
    ],
    test: 'takes the SQL in the id',
    store: 'SQLite',
  },
  {
    defence: 'ids are parameters of statements (PostgreSQL)',
    file: POSTGRES,
    edits: [
      [
        '`DELETE FROM microbosh_${table} WHERE instance_id = $1`, [removal.instanceId]',
        "`DELETE FROM microbosh_${table} WHERE instance_id = '${removal.instanceId}'`",
      ],
    ],
    test: 'takes the SQL in the id',
    store: 'PostgreSQL',
  },
  {
    defence: 'limit of bodies',
    file: 'http/app.ts',
    edits: [['bodyLimit: context.limits.bodyBytes,', 'bodyLimit: 1 << 30,']],
    test: 'are cut at the body limit',
  },
  {
    defence: 'callers are judged before their body is read',
    file: 'http/routes/settings.ts',
    edits: [['const adminOnly = { onRequest:', 'const adminOnly = { preHandler:']],
    test: 'are refused before the body when nobody may send it',
  },
  {
    defence: 'limit of headers',
    file: LISTENER,
    edits: [['maxHeaderSize: limits.headerBytes,', '']],
    test: 'are refused for their headers',
  },
  {
    defence: 'time limit of headers',
    file: LISTENER,
    edits: [
      ['headersTimeout: limits.headersTimeoutMs,', ''],
      ['requestTimeout: limits.requestTimeoutMs,', ''],
    ],
    test: 'lose their connection when the headers do not come',
  },
  {
    defence: 'time limit of requests',
    file: LISTENER,
    edits: [['requestTimeout: limits.requestTimeoutMs,', 'requestTimeout: 0,']],
    test: 'lose their connection when the body drips',
  },
  {
    defence: 'limit of connections',
    file: LISTENER,
    edits: [['this.#server.maxConnections = limits.connections;', '']],
    test: 'do not take more connections than allowed',
  },
  {
    defence: 'an unknown name costs what a known one costs',
    file: 'access/admin-credentials.ts',
    edits: [['if (candidates.length === 0) await this.#hasher.verify(password, this.#decoy);', '']],
    test: 'costs one slow check for a known and for an unknown name alike',
  },
  {
    defence: 'a right pair is checked slowly once',
    file: 'access/admin-credentials.ts',
    edits: [['verified.set(this.#digest(user, password), found);', '']],
    test: 'checks a right pair slowly only once',
  },
  {
    defence: 'guessing is stopped',
    file: GATE,
    edits: [
      [
        "    if (waitMs > 0) return { denied: 'too-many-failures', retryAfterMs: waitMs };\n    const result",
        '    const result',
      ],
    ],
    test: 'is stopped after some failures',
  },
  {
    defence: 'who knows the password is not locked out',
    file: GATE,
    edits: [['if (remembered) return remembered;', '']],
    test: 'is stopped after some failures',
  },
  {
    defence: 'agents are not locked out',
    file: GATE,
    edits: [
      [
        'const tokenHash = hashReadToken(token);',
        "const tokenHash = hashReadToken(token); if (this.#failedLogins.waitMs(caller.client.address) > 0) return { denied: 'too-many-failures' };",
      ],
    ],
    test: 'cannot lock agents out',
  },
  {
    defence: 'client certificates are of our CA',
    file: 'http/context.ts',
    edits: [
      ['if (!(socket instanceof TLSSocket) || !socket.authorized)', 'if (!(socket instanceof TLSSocket))'],
    ],
    test: 'stand for what their name is allowed',
  },
  {
    defence: 'a certificate reads its own instance',
    file: GATE,
    edits: [['if (named && name === instanceId)', 'if (named)']],
    test: 'stand for what their name is allowed',
  },
  {
    defence: 'read-only administrators do not write',
    file: GATE,
    edits: [["identity.access === 'read-write' || identity.access === need;", 'true;']],
    test: 'is counted and audited',
  },
  {
    defence: 'refusals are counted',
    file: 'http/context.ts',
    edits: [['context.metrics.countDenied(denial.denied);', '']],
    test: 'is counted and audited',
  },
  {
    defence: 'refusals do not say why',
    file: 'http/answers.ts',
    edits: [["message: 'Access denied.',", 'message: denial.denied,']],
    test: 'is the same text for every reason',
  },
  {
    defence: 'settings are encrypted',
    file: 'crypto/keyring.ts',
    edits: [
      [
        'if (!key) return { keyId: PLAIN_KEY_ID, sealed: plain };',
        'if (key || !key) return { keyId: PLAIN_KEY_ID, sealed: plain };',
      ],
    ],
    test: 'are not readable in the files of the database',
  },
  {
    defence: 'a sealed row is bound to its instance',
    file: 'crypto/keyring.ts',
    edits: [
      [
        "return JSON.stringify(['settings', instanceId, etag]);",
        "return JSON.stringify(['settings', instanceId.length]);",
      ],
    ],
    test: 'cannot stand in for those of another instance',
  },
];

interface Report {
  readonly testResults: readonly {
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[];
  }[];
}

/** The tests that ran, by name: passed or failed. Undefined when the spec itself could not be loaded. */
function runSpec(copy: string, mutation?: Mutation): ReadonlyMap<string, string> | undefined {
  const output = join(copy, 'report.json');
  rmSync(output, { force: true });
  const result = spawnSync(
    'vitest',
    [
      ...['run', '--root', copy, '--project', 'int', '--testTimeout=8000', spec],
      ...['--reporter=json', `--outputFile=${output}`],
      ...(mutation
        ? ['-t', `${mutation.store ?? ''}.*${mutation.test.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}`]
        : []),
    ],
    {
      cwd: copy,
      env: {
        ...process.env,
        PATH: [dirname(process.execPath), join(root, 'node_modules/.bin'), process.env['PATH']].join(
          delimiter,
        ),
      },
      encoding: 'utf8',
      // All tests of the spec run once, and only the one of the defence afterwards.
      timeout: mutation ? 180_000 : 600_000,
    },
  );
  if (result.error) throw result.error;
  const report = JSON.parse(readFileSync(output, 'utf8')) as Report;
  const ran = report.testResults
    .flatMap(({ assertionResults }) => assertionResults)
    .filter(({ status }) => status === 'passed' || status === 'failed');
  return ran.length === 0 ? undefined : new Map(ran.map(({ fullName, status }) => [fullName, status]));
}

/** What is wrong with this mutation's outcome; every store on which the test ran has to notice. */
function verdictOf(ran: ReadonlyMap<string, string> | undefined): string {
  if (!ran) return 'NO TEST RAN';
  const stores = Map.groupBy(ran, ([name]) => /^(SQLite|PostgreSQL) /.exec(name)?.[1] ?? 'one store');
  const blind = [...stores].filter(([, tests]) => !tests.some(([, status]) => status === 'failed'));
  const count = [...ran.values()].filter((status) => status === 'failed').length;
  return blind.length === 0
    ? `red (${count} of ${ran.size}; ${[...stores.keys()].join(', ')})`
    : `NOT NOTICED on ${blind.map(([name]) => name).join(', ')}`;
}

function mutate(path: string, mutation: Mutation): string {
  const original = readFileSync(path, 'utf8');
  let text = original;
  for (const [from, to] of mutation.edits) {
    const parts = text.split(from);
    if (parts.length !== 2) {
      throw new Error(
        `'${mutation.defence}': ${mutation.file} has '${from}' ${parts.length - 1} times, not once`,
      );
    }
    text = parts.join(to);
  }
  writeFileSync(path, text);
  return original;
}

const [word = ''] = process.argv.slice(2);
const chosen = mutations.filter(({ defence }) => defence.includes(word));
if (chosen.length === 0) throw new Error(`no defence has '${word}' in its name`);
const copy = mkdtempSync(join(tmpdir(), 'microbosh-mutate-'));
let failures = 0;
try {
  mkdirSync(join(copy, 'libs'));
  cpSync(join(root, library), join(copy, library), { recursive: true });
  const shared = ['package.json', 'tsconfig.json', 'tsconfig.base.json', 'vitest.config.ts'];
  for (const name of [...shared, 'scripts/property-seed.ts']) cpSync(join(root, name), join(copy, name));
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  const untouched = runSpec(copy);
  const broken = [...(untouched ?? [])].filter(([, status]) => status === 'failed');
  if (!untouched) throw new Error('without a mutation no test ran: the copy lacks something');
  if (broken.length > 0) {
    throw new Error(`without a mutation the spec is not green: ${broken.map(([name]) => name).join('; ')}`);
  }
  console.log(`untouched: ${untouched.size} tests green`);
  for (const mutation of chosen) {
    const path = join(copy, library, 'src', mutation.file);
    const original = mutate(path, mutation);
    const verdict = verdictOf(runSpec(copy, mutation));
    writeFileSync(path, original);
    if (!verdict.startsWith('red')) failures += 1;
    console.log(`${mutation.defence.padEnd(56)} ${verdict}`);
  }
} finally {
  rmSync(copy, { recursive: true, force: true });
}
console.log(`${chosen.length - failures} of ${chosen.length} noticed`);
process.exitCode = failures === 0 ? 0 : 1;
