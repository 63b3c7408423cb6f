import { copyFile, mkdir, readFile, unlink } from 'node:fs/promises';
import { errorCode, messageOf } from '@microbosh/errors';
import { syncDirectory, writeFileDurably } from '@microbosh/host';
import { dirname } from 'node:path';
import { StateNotWritten, StateUnreadable } from '../errors.ts';
import type { EnvironmentPaths } from './environment-paths.ts';
import type { EnvironmentState, OwnState } from './environment-state.ts';
import { decodeState, encodeState, newState } from './state-document.ts';

export type StateChange = Partial<Omit<EnvironmentState, 'own' | 'unknown'>> & {
  readonly own?: { readonly [K in keyof OwnState]?: OwnState[K] | undefined };
};

/**
 * The state file of one environment. Every change is on disk, in full and synced, before `update` resolves; a reader
 * sees the old or the new document. The copy from before the first change of this run is kept. Mode 0600.
 */
export class StateStore {
  readonly paths: EnvironmentPaths;
  readonly #existed: boolean;
  #state: EnvironmentState;
  #previousKept = false;
  #last: Promise<void> = Promise.resolve();
  readonly editedByOthers: boolean;

  private constructor(
    paths: EnvironmentPaths,
    existed: boolean,
    state: EnvironmentState,
    editedByOthers: boolean,
  ) {
    this.paths = paths;
    this.#existed = existed;
    this.#state = state;
    this.editedByOthers = editedByOthers;
  }

  /** Reads the file, or begins a state in memory when there is none: with what `begin` finds, else with nothing. */
  static async open(
    paths: EnvironmentPaths,
    begin: () => Promise<EnvironmentState | undefined> = () => Promise.resolve(undefined),
  ): Promise<StateStore> {
    let content: string | undefined;
    try {
      content = await readFile(paths.state, 'utf8');
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') {
        throw new StateUnreadable(`State file '${paths.shownState}' cannot be read: ${messageOf(error)}`, {
          details: { path: paths.state },
          cause: error,
        });
      }
    }
    if (content === undefined || content.trim() === '') {
      return new StateStore(paths, content !== undefined, (await begin()) ?? newState(), false);
    }
    const decoded = decodeState(content, paths.shownState, paths.previousState);
    return new StateStore(paths, true, decoded.state, decoded.editedByOthers);
  }

  get current(): EnvironmentState {
    return this.#state;
  }

  /** The file was there when this store was opened. */
  get existed(): boolean {
    return this.#existed;
  }

  /**
   * Merges a change into the state and saves it. A key of `own` that is set to undefined is removed. One at a time: a
   * change that is computed from the state is given as a function, which sees what the earlier ones left.
   */
  update(change: StateChange | ((state: EnvironmentState) => StateChange)): Promise<void> {
    const saved = this.#last.then(() =>
      this.#apply(typeof change === 'function' ? change(this.#state) : change),
    );
    this.#last = saved.catch(() => undefined);
    return saved;
  }

  async #apply(change: StateChange): Promise<void> {
    const { own: ownChange, ...originalChange } = change;
    const mergedOwn: Record<string, unknown> = { ...this.#state.own, ...ownChange };
    for (const key of Object.keys(mergedOwn)) if (mergedOwn[key] === undefined) delete mergedOwn[key];
    const next = decodeOwn(this.#state, originalChange, mergedOwn);
    await this.#save(next);
    this.#state = next;
  }

  /** Removes the state file; what is kept beside it goes with the lock. */
  async remove(): Promise<void> {
    await unlink(this.paths.state).catch(ignoreAbsent);
    await syncDirectory(dirname(this.paths.state));
    this.#state = newState();
  }

  async #save(next: EnvironmentState): Promise<void> {
    try {
      await mkdir(this.paths.folder, { recursive: true, mode: 0o700 });
      if (!this.#previousKept && this.#existed) await copyFile(this.paths.state, this.paths.previousState);
      this.#previousKept = true;
      await writeFileDurably(this.paths.state, encodeState(next), { mode: 0o600 });
    } catch (error) {
      throw new StateNotWritten(
        `State file '${this.paths.shownState}' cannot be written: ${messageOf(error)}`,
        {
          details: { path: this.paths.state },
          advice:
            'Make room or correct the permissions, then run the same command again: the journal beside the file knows what was done.',
          cause: error,
        },
      );
    }
  }
}

function decodeOwn(
  state: EnvironmentState,
  change: Omit<StateChange, 'own'>,
  own: Record<string, unknown>,
): EnvironmentState {
  const merged = { ...state, ...change, own: { ...own, serial: state.own.serial + 1 } };
  // Through the text and back: what is saved is what a later run can read, or the change is refused here.
  return decodeState(encodeState(merged as EnvironmentState), 'in memory', '').state;
}

function ignoreAbsent(error: unknown): void {
  if (errorCode(error) !== 'ENOENT') throw error;
}
