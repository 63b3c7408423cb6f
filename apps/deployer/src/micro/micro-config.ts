import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { errorCode, isJsonObject, messageOf } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import { writeFileDurably } from '@microbosh/host';
import { emitYaml, fromJson, parseYaml, toJson } from '@microbosh/spec/documents';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { textOption } from '../cli/context.ts';
import { MicroRefused } from '../errors.ts';

/** `~/.bosh_deployer_config`: the manifest that the `micro` commands work on, by target. Keys of others are kept. */
export class MicroConfig {
  readonly path: string;
  #document: JsonObject;

  private constructor(path: string, document: JsonObject) {
    this.path = path;
    this.#document = document;
  }

  static async open(
    options: CommandOptions,
    context: Pick<CommandContext, 'env' | 'cwd'>,
  ): Promise<MicroConfig> {
    const given = textOption(options, 'config');
    const path =
      given === undefined
        ? join(context.env['HOME'] ?? homedir(), '.bosh_deployer_config')
        : resolve(context.cwd, given);
    return new MicroConfig(path, await read(path));
  }

  get target(): string | undefined {
    const { target } = this.#document;
    return typeof target === 'string' && target !== '' ? target : undefined;
  }

  /** Manifest by target; the form of old files, one path for all, counts for the current target. */
  get deployments(): Readonly<Record<string, string>> {
    const { deployment } = this.#document;
    if (typeof deployment === 'string') return { [this.target ?? '']: deployment };
    if (deployment === undefined || !isJsonObject(deployment)) return {};
    return Object.fromEntries(
      Object.entries(deployment).flatMap(([target, path]) =>
        typeof path === 'string' ? [[target, path] as const] : [],
      ),
    );
  }

  selected(target: string | undefined): string | undefined {
    return this.deployments[target ?? this.target ?? ''];
  }

  /** The manifest stays selected when its target changes. What was known of another target's director is forgotten. */
  async select(target: string, manifest: string): Promise<{ readonly changed: boolean }> {
    const changed = this.target !== target;
    const kept: JsonObject = changed
      ? Object.fromEntries(
          Object.entries(this.#document).filter(
            ([key]) => !['target_name', 'target_version', 'target_uuid'].includes(key),
          ),
        )
      : this.#document;
    this.#document = { ...kept, target, deployment: { ...this.deployments, [target]: manifest } };
    await writeFileDurably(this.path, emitYaml(fromJson(this.#document)), { mode: 0o600 });
    return { changed };
  }
}

async function read(path: string): Promise<JsonObject> {
  try {
    const document = toJson(parseYaml(await readFile(path, 'utf8'), { file: path, dialect: 'psych' }));
    return isJsonObject(document) ? document : {};
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return {};
    throw new MicroRefused(`The configuration '${path}' cannot be read: ${messageOf(error)}`, {
      details: { path },
      cause: error,
      advice: 'Repair or remove the file; it only remembers which manifest is selected.',
    });
  }
}
