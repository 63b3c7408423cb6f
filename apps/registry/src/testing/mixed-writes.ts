import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'undici';
import { ADMIN } from './registry-process.ts';

/** What an instance may look like: the document, or null when it was deleted. */
type State = string | null;

interface Key {
  readonly id: string;
  /** The last state that was acknowledged. */
  acknowledged: State;
  /** States that were asked for since, without an answer: any of them may have been taken. */
  uncertain: State[];
}

const AUTHORIZATION = `Basic ${Buffer.from(ADMIN).toString('base64')}`;

export interface MixedWritesOptions {
  readonly url: string;
  readonly workers: number;
  readonly documentBytes?: number;
}

/** Puts, replacements and removals from many workers; remembers what was acknowledged. */
export class MixedWrites {
  readonly #options: MixedWritesOptions;
  readonly #keys: Key[][];
  readonly #pool: Pool;
  #serial = 0;
  acknowledged = 0;
  /** Answers and broken connections, by status. */
  readonly outcomes = new Map<string, number>();

  constructor(options: MixedWritesOptions) {
    this.#options = options;
    this.#pool = new Pool(options.url, { connections: options.workers, headersTimeout: 40_000 });
    this.#keys = Array.from({ length: options.workers }, () => []);
  }

  /** Writes until so many are acknowledged in all, or `isOver` says stop. */
  async run(total: number, isOver: () => boolean = () => false): Promise<void> {
    await Promise.all(
      this.#keys.map(async (keys, worker) => {
        while (this.acknowledged < total && !isOver()) await this.#step(keys, worker);
      }),
    );
  }

  async #step(keys: Key[], worker: number): Promise<void> {
    this.#serial += 1;
    const choice = this.#serial % 10;
    const known = keys[(this.#serial * 7) % Math.max(1, keys.length)];
    let key = known;
    if (!key || choice < 4) {
      key = { id: `vm-${worker}-${keys.length}`, acknowledged: null, uncertain: [] };
      keys.push(key);
    }
    const isRemoval = choice === 9 && key === known;
    const state = isRemoval ? null : this.#document(key.id);
    key.uncertain.push(state);
    let outcome: string;
    try {
      const answer = await this.#pool.request({
        method: isRemoval ? 'DELETE' : 'PUT',
        path: `/instances/${key.id}/settings`,
        headers: { authorization: AUTHORIZATION },
        ...(state === null ? {} : { body: state }),
      });
      await answer.body.dump();
      outcome = String(answer.statusCode);
    } catch {
      outcome = 'broken';
    }
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
    if (outcome === '200') {
      key.acknowledged = state;
      key.uncertain = [];
      this.acknowledged += 1;
    } else if (outcome === 'broken') {
      await sleep(20);
    }
  }

  #document(id: string): string {
    const head = JSON.stringify({ id, serial: this.#serial }).slice(0, -1);
    const padding = 'x'.repeat(this.#options.documentBytes ?? 1_500);
    // Begins and ends with its number: half a document shows.
    return `${head},"padding":"${padding}","end":${this.#serial}}`;
  }

  /** What is wrong with the registry's answers: lost, half done, or never asked for. */
  async problems(): Promise<readonly string[]> {
    const found: string[] = [];
    await Promise.all(
      this.#keys.map(async (keys) => {
        for (const key of keys) {
          const answer = await this.#pool.request({
            method: 'GET',
            path: `/instances/${key.id}/settings`,
            headers: { authorization: AUTHORIZATION },
          });
          const text = await answer.body.text();
          const state = answer.statusCode === 404 ? null : settingsOf(text);
          const allowed = [key.acknowledged, ...key.uncertain];
          if (answer.statusCode !== 200 && answer.statusCode !== 404)
            found.push(`${key.id}: ${answer.statusCode}`);
          else if (!allowed.includes(state)) {
            found.push(`${key.id}: ${state === null ? 'absent' : 'not a state that was acknowledged last'}`);
          } else {
            // From here on this is what it is.
            key.acknowledged = state;
            key.uncertain = [];
          }
        }
      }),
    );
    return found;
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }
}

function settingsOf(text: string): string {
  const answer: unknown = JSON.parse(text);
  if (typeof answer !== 'object' || answer === null || !('settings' in answer))
    throw new Error('no settings');
  if (typeof answer.settings !== 'string') throw new Error('settings are a string');
  return answer.settings;
}
