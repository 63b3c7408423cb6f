import { methods, type MethodName } from '@microbosh/agent-protocol';
import type { Json } from '@microbosh/errors';

/** Numbers that a seed determines: a run can be repeated. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(list: readonly T[]): T {
    const item = list[this.below(list.length)];
    if (item === undefined && list.length === 0) throw new Error('nothing to pick from');
    return item as T;
  }
}

export interface FuzzRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Buffer;
}

export interface Pool {
  readonly authorization: string;
  /** Arguments that each method takes. */
  readonly valid: Readonly<Partial<Record<MethodName, readonly (readonly Json[])[]>>>;
}

const names = Object.keys(methods) as MethodName[];
const oddTexts = [
  ...['', ' ', '.', '..', '../../etc/passwd', '/etc/passwd', '\u0000', 'a\nb', '%2e%2e', 'disk-1', 'web'],
  ...[
    '\ud800',
    '💥'.repeat(50),
    'x'.repeat(3_000),
    '${jndi:ldap://x}',
    '$(touch /tmp/pwned)',
    "'; --",
    '-rf',
  ],
  ...['__proto__', 'constructor', 'toString', 'true', '0', 'sha256:', 'https://user:pw@[::1]:1/', 'bosh_x'],
];
const oddNumbers = [0, -1, 1, 1.5, 2 ** 31, 2 ** 53, -(2 ** 63), 1e308, 3];

export function randomJson(dice: Dice, depth = 0): Json {
  const kind = dice.below(depth > 3 ? 5 : 8);
  if (kind === 0) return null;
  if (kind === 1) return dice.chance(0.5);
  if (kind === 2) return dice.pick(oddNumbers);
  if (kind <= 4) return dice.pick(oddTexts);
  if (kind === 5) return Array.from({ length: dice.below(4) }, () => randomJson(dice, depth + 1));
  return Object.fromEntries(
    Array.from({ length: dice.below(4) }, () => [
      dice.chance(0.5)
        ? dice.pick(['name', 'cid', 'ips', 'version', 'sha1', 'job', 'path'])
        : dice.pick(oddTexts),
      randomJson(dice, depth + 1),
    ]),
  );
}

function mutated(dice: Dice, value: Json): Json {
  if (dice.chance(0.2)) return randomJson(dice);
  if (Array.isArray(value)) {
    const list = (value as Json[]).map((item) => (dice.chance(0.4) ? mutated(dice, item) : item));
    if (dice.chance(0.2)) list.splice(dice.below(list.length + 1), dice.chance(0.5) ? 1 : 0);
    if (dice.chance(0.1)) list.push(randomJson(dice));
    return list;
  }
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(() => !dice.chance(0.15));
    return Object.fromEntries(
      entries.map(([key, member]) => [
        dice.chance(0.05) ? key.toUpperCase() : key,
        dice.chance(0.3) ? mutated(dice, member) : member,
      ]),
    );
  }
  if (typeof value === 'string' && dice.chance(0.6)) {
    const at = dice.below(value.length + 1);
    return value.slice(0, at) + dice.pick(oddTexts) + value.slice(at);
  }
  return randomJson(dice);
}

function agentBody(dice: Dice, pool: Pool): Buffer {
  const name = dice.pick(names);
  const method = dice.chance(0.1)
    ? dice.pick([...oddTexts, `${name} `, name.toUpperCase(), 7, null, []])
    : name;
  const valid = pool.valid[name] ?? [[]];
  let args: Json = [...dice.pick(valid)];
  if (dice.chance(0.65)) args = mutated(dice, args);
  const request: Record<string, Json> = { method: method, arguments: args, reply_to: 'fuzz' };
  if (dice.chance(0.3)) request['protocol'] = dice.chance(0.7) ? dice.below(5) : randomJson(dice);
  if (dice.chance(0.1)) request['reply_to'] = randomJson(dice);
  if (dice.chance(0.05)) request[dice.pick(oddTexts)] = randomJson(dice);
  let bytes = Buffer.from(dice.chance(0.03) ? JSON.stringify(randomJson(dice)) : JSON.stringify(request));
  if (dice.chance(0.06)) bytes = bytes.subarray(0, dice.below(bytes.length + 1));
  if (dice.chance(0.06)) {
    bytes = Buffer.from(bytes);
    for (let flips = 1 + dice.below(4); flips > 0 && bytes.length > 0; flips -= 1) {
      bytes[dice.below(bytes.length)] = dice.below(256);
    }
  }
  if (dice.chance(0.003)) bytes = Buffer.from(`${'['.repeat(20_000)}${']'.repeat(20_000)}`);
  return bytes;
}

const segments = [
  'blobs',
  'agent',
  'ab',
  'one',
  '..',
  '.',
  '',
  'tmp',
  '.compiled.json',
  '%2e%2e',
  '%2f',
  '%00',
  '%',
  'a%20b',
  '~',
  'one?x=1',
  '#',
];

function randomPath(dice: Dice): string {
  const length = 1 + dice.below(4);
  return `/${Array.from({ length }, () => dice.pick(segments)).join('/')}`;
}

/** One request; more than half carry the right credentials. */
export function randomRequest(dice: Dice, pool: Pool): FuzzRequest {
  const headers: Record<string, string> = {};
  if (dice.chance(0.8)) headers['authorization'] = pool.authorization;
  else if (dice.chance(0.6)) {
    headers['authorization'] = dice.pick([
      ...['Basic', 'Basic Og==', 'Bearer x', 'Basic bWJ1czpmYWxzZQ==', `${pool.authorization}=`],
      ...[pool.authorization.toLowerCase(), pool.authorization.slice(0, -4), 'x'.repeat(2_000)],
    ]);
  }
  if (dice.chance(0.2))
    headers['content-type'] = dice.pick(['text/plain', 'application/json', 'x', 'multipart/form-data']);
  if (dice.chance(0.05)) headers['x-real-ip'] = 'y'.repeat(dice.below(3_000));
  if (dice.chance(0.03)) headers['expect'] = dice.pick(['100-continue', 'else']);
  const kind = dice.next();
  if (kind < 0.72) {
    const method = dice.chance(0.97)
      ? 'POST'
      : dice.pick(['GET', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS']);
    const path = dice.chance(0.97) ? '/agent' : randomPath(dice);
    return { method, path, headers, body: agentBody(dice, pool) };
  }
  const method = dice.pick(['GET', 'GET', 'PUT', 'PUT', 'HEAD', 'DELETE', 'POST']);
  const path = dice.chance(0.5) ? `/blobs/${dice.pick(segments)}/${dice.pick(segments)}` : randomPath(dice);
  const body = Buffer.alloc(dice.below(dice.chance(0.05) ? 100_000 : 50), dice.below(256));
  return { method, path, headers, ...(method === 'GET' || method === 'HEAD' ? {} : { body }) };
}
