import { mkdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { boundedLog } from './state/bounded-log.ts';
import { plainJson } from './state/state-document.ts';
import type { CommandContext } from './cli/context.ts';
import { EnvironmentLock } from './state/environment-lock.ts';
import { environmentPaths } from './state/environment-paths.ts';
import type { EnvironmentPaths } from './state/environment-paths.ts';
import { Journal } from './state/journal.ts';
import { importLegacyState, markLegacyDeleted } from './state/legacy-import.ts';
import type { TakeOver } from './state/legacy-import.ts';
import { StateStore } from './state/state-store.ts';

/** One environment, locked for this process. */
export class Environment {
  readonly paths: EnvironmentPaths;
  readonly store: StateStore;
  readonly journal: Journal;
  readonly #lock: EnvironmentLock;
  readonly #stopRecording: () => void;
  #removed = false;

  private constructor(
    paths: EnvironmentPaths,
    lock: EnvironmentLock,
    store: StateStore,
    journal: Journal,
    stopRecording: () => void,
  ) {
    this.paths = paths;
    this.#lock = lock;
    this.store = store;
    this.journal = journal;
    this.#stopRecording = stopRecording;
  }

  static async open(
    paths: EnvironmentPaths,
    command: string,
    context: Pick<CommandContext, 'events' | 'secrets'>,
    takeOver?: TakeOver,
  ): Promise<Environment> {
    mkdirSync(dirname(paths.state), { recursive: true });
    const lock = await EnvironmentLock.acquire(paths, command);
    try {
      const imported = { file: '' };
      const store = await StateStore.open(paths, async () => {
        const found = takeOver === undefined ? undefined : await importLegacyState(takeOver);
        imported.file = found?.file ?? '';
        return found?.state;
      });
      if (imported.file !== '') {
        context.events.message(`Migrated legacy deployments file: '${imported.file}' (it is kept)`);
      }
      const journal = await Journal.open(paths.journal);
      if (store.editedByOthers) {
        context.events.message(
          `The state file '${paths.shownState}' was changed by another program since it was saved`,
          {
            level: 'warning',
          },
        );
      }
      const write = boundedLog(paths.events);
      const record = (event: object) => {
        try {
          write(context.secrets.redact(JSON.stringify(plainJson(event))));
        } catch {
          // History only: where there is no room for it, state and journal say so with their own errors.
        }
      };
      record({ type: 'run', command, time: new Date().toISOString() });
      const stops = [
        context.events.subscribe((event) => {
          if (event.type !== 'progress') record(event);
        }),
        context.events.subscribeCalls(record),
      ];
      return new Environment(paths, lock, store, journal, () => stops.forEach((stop) => stop()));
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /** State file, journal and everything beside them. */
  async remove(): Promise<void> {
    this.#stopRecording();
    const { imported } = this.store.current.own;
    if (imported !== undefined) await markLegacyDeleted(imported);
    await this.journal.remove();
    await this.store.remove();
    await this.#lock.releaseAndRemove();
    this.#removed = true;
  }

  async close(): Promise<void> {
    this.#stopRecording();
    if (this.#removed) return;
    await this.journal.close();
    await this.#lock.release();
  }
}

export function pathsOf(
  manifest: string,
  state: string | undefined,
  context: Pick<CommandContext, 'cwd' | 'events'>,
): EnvironmentPaths {
  const paths = environmentPaths(manifest, state, context.cwd);
  context.events.message(`Deployment manifest: '${resolve(context.cwd, manifest)}'`);
  context.events.message(`Deployment state: '${paths.shownState}'`);
  return paths;
}
