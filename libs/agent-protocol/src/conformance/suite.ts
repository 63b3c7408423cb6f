import { isJsonObject, type Json } from '@microbosh/errors';
import type { CallbackServer } from './callback-server.ts';
import { UnexpectedException, type Envelope, type WireAgent } from './wire-agent.ts';

/**
 * What a case does to the machine: `none` must not change anything; `files` leaves small files; `destructive` replaces
 * jobs, packages, names, users or disks; `restart` ends the agent; `power` ends the machine.
 */
export type Effect = 'none' | 'files' | 'destructive' | 'restart' | 'power';

export interface Context {
  readonly agent: WireAgent;
  /** B on the machine, usually `/var/vcap`. */
  readonly base: string;
  /** For signed URLs; absent when the agent cannot reach this process. */
  readonly callback?: CallbackServer;
  /** Unique in this run. */
  readonly run: string;
  /** Two disks that are attached and may be formatted. */
  readonly disks?: readonly [string, string];
  /** Where the machine has the first of them. */
  readonly device?: { readonly cid: string; readonly path: string };
}

export interface Case {
  /** The method, or `transport`. */
  readonly method: string;
  readonly title: string;
  readonly effect: Effect;
  readonly needs?: 'callback' | 'disks' | 'device';
  readonly run: (context: Context) => Promise<void>;
}

export type Verdict = 'ok' | 'failed' | 'absent' | 'skipped';

export interface Result {
  readonly method: string;
  readonly title: string;
  readonly verdict: Verdict;
  readonly durationMs: number;
  readonly reason?: string;
}

export interface SuiteOptions {
  readonly effects: ReadonlySet<Effect>;
  /** Methods that an agent of any version may lack are failures too. */
  readonly requireAll: boolean;
  readonly onResult?: (result: Result) => void;
}

/** Methods that came or went with versions: an agent without them is no worse. */
const ofSomeVersions: ReadonlySet<string> = new Set([
  ...['noop', 'info', 'prepare', 'add_dynamic_disk', 'remove_dynamic_disk', 'associate_disks'],
  ...['release_apply_spec', 'prepare_network_change', 'prepare_configure_networks', 'configure_networks'],
  ...['bundle_logs', 'remove_file', 'sync_dns', 'sync_dns_with_signed_url', 'fetch_logs_with_signed_url'],
  ...['compile_package_with_signed_url', 'upload_blob', 'delete_arp_entries', 'update_settings'],
  ...['add_persistent_disk', 'remove_persistent_disk', 'run_script', 'shutdown'],
]);

/** Runs the cases one after the other, in their order. */
export async function runSuite(
  cases: readonly Case[],
  context: Context,
  options: SuiteOptions,
): Promise<readonly Result[]> {
  const results: Result[] = [];
  for (const item of cases) {
    const result = await runCase(item, context, options);
    results.push(result);
    options.onResult?.(result);
  }
  return results;
}

async function runCase(item: Case, context: Context, options: SuiteOptions): Promise<Result> {
  const { method, title } = item;
  const skip = (reason: string): Result => ({ method, title, verdict: 'skipped', durationMs: 0, reason });
  if (!options.effects.has(item.effect)) return skip(`changes the machine (${item.effect})`);
  if (item.needs === 'callback' && !context.callback) return skip('the agent cannot reach this process');
  if (item.needs === 'disks' && !context.disks) return skip('no disks were named');
  if (item.needs === 'device' && !context.device) return skip('no device was named');
  const startedAt = performance.now();
  const done = (verdict: Verdict, reason?: string): Result => ({
    ...{ method, title, verdict, durationMs: Math.round(performance.now() - startedAt) },
    ...(reason === undefined ? {} : { reason }),
  });
  try {
    await item.run(context);
    return done('ok');
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const isAbsent = reason.includes(`unknown message ${method}`) && ofSomeVersions.has(method);
    return done(isAbsent && !options.requireAll ? 'absent' : 'failed', reason);
  }
}

// ── expectations ──────────────────────────────────────────────────────────────────────────────────────────────────

export function expectThat(condition: boolean, problem: string): void {
  if (!condition) throw new Error(problem);
}

export function valueOf(answer: Envelope): Json {
  if ('value' in answer) return answer.value;
  throw new UnexpectedException(answer.exception.message);
}

export function expectValue(answer: Envelope, wanted: Json): void {
  const value = valueOf(answer);
  const same = JSON.stringify(sorted(value)) === JSON.stringify(sorted(wanted));
  expectThat(same, `the value is ${short(value)} and not ${short(wanted)}`);
}

export function expectException(answer: Envelope, pattern: RegExp): void {
  if ('value' in answer) throw new Error(`an exception was due; the value is ${short(answer.value)}`);
  const message = answer.exception.message;
  if (/unknown message/.test(message) && !pattern.test(message)) throw new UnexpectedException(message);
  expectThat(
    pattern.test(message),
    `the exception '${message.slice(0, 300)}' does not match ${String(pattern)}`,
  );
}

export function objectOf(value: Json): Readonly<Record<string, Json>> {
  if (!isJsonObject(value)) throw new Error(`the value is ${short(value)} and not an object`);
  return value;
}

export function stringOf(value: Json | undefined, what: string): string {
  if (typeof value === 'string') return value;
  throw new Error(`${what} is not a string`);
}

function short(value: Json): string {
  return JSON.stringify(value).slice(0, 200);
}

function sorted(value: Json): Json {
  if (Array.isArray(value)) return (value as Json[]).map(sorted);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, member]) => [key, sorted(member)]),
  );
}
