import type { CommandRunner } from '@microbosh/host';
import type { BlobProvider } from './provider.ts';

/** `bosh-blobstore-<provider> -c <config> get|put …`, exit 0 is success. */
export class ExternalProvider implements BlobProvider {
  readonly #runner: CommandRunner;
  readonly #executable: string;
  readonly #config: string;

  constructor(options: {
    readonly runner: CommandRunner;
    readonly executable: string;
    readonly config: string;
  }) {
    this.#runner = options.runner;
    this.#executable = options.executable;
    this.#config = options.config;
  }

  async get(id: string, path: string, signal?: AbortSignal): Promise<void> {
    await this.#run(['get', id, path], signal);
  }

  async put(path: string, id: string, signal?: AbortSignal): Promise<void> {
    await this.#run(['put', path, id], signal);
  }

  /** The contract has no question for it. */
  async has(): Promise<undefined> {
    return undefined;
  }

  async #run(args: readonly string[], signal: AbortSignal | undefined): Promise<void> {
    await this.#runner.run([this.#executable, '-c', this.#config, ...args], {
      timeoutMs: 3_600_000,
      ...(signal ? { signal } : {}),
    });
  }
}
