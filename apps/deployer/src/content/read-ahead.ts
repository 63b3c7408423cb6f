import { fetchArtifact } from '@microbosh/artifacts';
import type { FetchedArtifact } from '@microbosh/artifacts';
import type { ArtifactRef } from '@microbosh/spec';
import type { MakeConnector } from '../access/routed-connector.ts';
import type { StageScope, StepScope } from '../events/event-bus.ts';

/** An archive that is on its way, or waits for its turn. */
export interface ComingArchive<T> {
  readonly ref: ArtifactRef;
  readonly fetched: Promise<FetchedArtifact>;
  readonly opened: Promise<T>;
  /** Tells the step how far the download is. */
  readonly watch: (step: StepScope) => void;
}

/** More of them would wait for each other: one thread computes the digests. */
const atATime = 2;

/**
 * Fetches and reads archives two at a time, in the order in which they are named. Their steps are shown one after the
 * other all the same: the lines of a deploy stay those of create-env.
 */
export class ReadAhead {
  readonly #cacheDir: string;
  readonly #connector: MakeConnector | undefined;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  readonly #waiting: (() => void)[] = [];
  readonly #ends: Promise<unknown>[] = [];
  #free = atATime;

  constructor(cacheDir: string, signal: AbortSignal, connector?: MakeConnector) {
    this.#connector = connector;
    this.#cacheDir = cacheDir;
    this.#signal = AbortSignal.any([signal, this.#abort.signal]);
  }

  start<T>(
    ref: ArtifactRef,
    read: (fetched: FetchedArtifact, signal: AbortSignal) => Promise<T>,
  ): ComingArchive<T> {
    let watcher: StepScope | undefined;
    const fetched = this.#turn().then(() =>
      fetchArtifact(ref, {
        cacheDir: this.#cacheDir,
        signal: this.#signal,
        ...(this.#connector === undefined ? {} : { connector: this.#connector }),
        onProgress: (done, total) =>
          watcher?.progress({ done, unit: 'bytes', ...(total === undefined ? {} : { total }) }),
      }),
    );
    const opened = fetched
      .then(async (found) => {
        this.#signal.throwIfAborted();
        return read(found, this.#signal);
      })
      .finally(() => this.#leave());
    // Whoever shows the steps hears of a failure when its turn comes.
    this.#ends.push(opened.catch(() => undefined));
    fetched.catch(() => undefined);
    const watch = (step: StepScope) => {
      watcher = step;
    };
    return { ref, fetched, opened, watch };
  }

  /** Ends what is still going on, after a failure. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await Promise.all(this.#ends);
  }

  async #turn(): Promise<void> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#signal.throwIfAborted();
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}

/** A step for what is downloaded and, with a name, one for what is read. */
export async function showSteps<T>(
  archive: ComingArchive<T>,
  stage: StageScope,
  names: { readonly download: string; readonly read?: string },
): Promise<{ readonly fetched: FetchedArtifact; readonly opened: T }> {
  if (/^https?:/.test(archive.ref.url)) {
    await stage.step(names.download, async (step) => {
      archive.watch(step);
      if ((await archive.fetched).fromCache) step.skip('Found in local cache');
    });
  }
  const fetched = await archive.fetched;
  const { opened } = archive;
  return {
    fetched,
    opened: await (names.read === undefined ? opened : stage.step(names.read, () => opened)),
  };
}
