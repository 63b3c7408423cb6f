import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorCode, isJsonObject, messageOf } from '@microbosh/errors';
import type { Json, JsonObject } from '@microbosh/errors';
import { syncDirectory } from '@microbosh/host';
import { JournalDamaged, StateNotWritten } from '../errors.ts';
import { digestOf } from './state-document.ts';

/** What was about to be done when it was written. */
export interface Intent {
  readonly id: string;
  /** Name of the effect: `create_vm`, `delete_disk`, `agent:migrate_disk`, … */
  readonly operation: string;
  /** Goes with a create_* call: the cloud finds what it made by it. */
  readonly token: string;
  readonly digest: string;
  /** All that is needed to recognise the outcome later. May hold secrets: the file is 0600. */
  readonly arguments: JsonObject;
  readonly at: string;
}

type Line =
  | ({ readonly phase: 'intent' } & Intent)
  | { readonly phase: 'outcome'; readonly id: string; readonly ok: boolean; readonly result: Json };

/**
 * Write-ahead journal of external effects: an intent is on disk before the effect, its outcome after. What has an
 * intent and no outcome is what a killed run may or may not have done.
 */
export class Journal {
  readonly #path: string;
  readonly #open = new Map<string, Intent>();
  #file: FileHandle | undefined;
  /** Bytes of complete lines in the file. */
  #size = 0;

  private constructor(path: string) {
    this.#path = path;
  }

  static async open(path: string): Promise<Journal> {
    const journal = new Journal(path);
    await journal.#load();
    return journal;
  }

  /** Intents without outcome, oldest first. */
  get openIntents(): readonly Intent[] {
    return [...this.#open.values()];
  }

  /** Resolves once the intent is on disk. */
  async begin(operation: string, args: JsonObject): Promise<Intent> {
    const intent: Intent = {
      id: randomUUID(),
      operation,
      token: randomUUID(),
      digest: digestOf(args),
      arguments: args,
      at: new Date().toISOString(),
    };
    await this.#append({ phase: 'intent', ...intent });
    this.#open.set(intent.id, intent);
    return intent;
  }

  /** The effect took place (with this result) or is known not to have. */
  async end(intent: Intent, outcome: { readonly ok: boolean; readonly result?: Json }): Promise<void> {
    await this.#append({ phase: 'outcome', id: intent.id, ok: outcome.ok, result: outcome.result ?? null });
    this.#open.delete(intent.id);
    // Nothing is pending: what is in the file is history, which the event log keeps.
    if (this.#open.size === 0) await this.#truncate();
  }

  async close(): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
  }

  async #load(): Promise<void> {
    let content: string;
    try {
      content = await readFile(this.#path, 'utf8');
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return;
      throw error;
    }
    const lines = content.split('\n');
    // A line is complete with its line end. An incomplete last one was never acknowledged, so its effect never began.
    const torn = lines.pop();
    for (const [index, line] of lines.entries()) {
      const entry = parseLine(line);
      if (entry === undefined) {
        throw new JournalDamaged(`Journal '${this.#path}' is damaged in line ${index + 1}`, {
          details: { path: this.#path, line: index + 1 },
          advice:
            'Look at the resources in the cloud that the lines after it name, adopt or delete them by hand, then remove the file.',
        });
      }
      const { phase, ...rest } = entry;
      if ('operation' in rest && phase === 'intent') this.#open.set(rest.id, rest);
      else this.#open.delete(rest.id);
    }
    this.#size = Buffer.byteLength(content) - Buffer.byteLength(torn ?? '');
    if (torn !== undefined && torn !== '') await truncateFile(this.#path, this.#size);
  }

  async #append(line: Line): Promise<void> {
    const text = `${JSON.stringify(line)}\n`;
    try {
      this.#file ??= await this.#openFile();
      await this.#file.appendFile(text);
      await this.#file.datasync();
      this.#size += Buffer.byteLength(text);
    } catch (error) {
      // Half a line in front of later ones would look like damage.
      await this.#file?.truncate(this.#size).catch(() => undefined);
      throw new StateNotWritten(`Journal '${this.#path}' cannot be written: ${messageOf(error)}`, {
        details: { path: this.#path },
        advice: 'Make room or correct the permissions, then run the same command again.',
        cause: error,
      });
    }
  }

  async #openFile(): Promise<FileHandle> {
    await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 });
    const file = await open(this.#path, 'a', 0o600);
    await syncDirectory(dirname(this.#path));
    return file;
  }

  async #truncate(): Promise<void> {
    await this.#file?.truncate(0);
    this.#size = 0;
  }

  async remove(): Promise<void> {
    await this.close();
    await rm(this.#path, { force: true });
  }
}

async function truncateFile(path: string, size: number): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.truncate(size);
    await file.sync();
  } finally {
    await file.close();
  }
}

function parseLine(line: string): Line | undefined {
  let document: unknown;
  try {
    document = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isJsonObject(document) || typeof document.id !== 'string') return undefined;
  const { id } = document;
  if (document.phase === 'outcome') {
    return { phase: 'outcome', id, ok: document.ok === true, result: document.result ?? null };
  }
  const { operation, token, digest, at } = document;
  const args = document.arguments;
  if (document.phase !== 'intent' || !isJsonObject(args)) return undefined;
  if (typeof operation !== 'string' || typeof token !== 'string') return undefined;
  if (typeof digest !== 'string' || typeof at !== 'string') return undefined;
  return { phase: 'intent', id, operation, token, digest, arguments: args, at };
}
