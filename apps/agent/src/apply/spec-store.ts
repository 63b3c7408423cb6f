import { readFile, rm } from 'node:fs/promises';
import { errorCode, isJsonObject, type Json, type JsonObject } from '@microbosh/errors';
import { syncDirectory, writeFileDurably } from '@microbosh/host';
import { dirname } from 'node:path';
import { ActionError } from '../errors.ts';
import type { Layout } from '../layout.ts';
import type { SentSpec } from './spec.ts';

/**
 * The applied spec, and the intent of an apply whose switch has begun. While the intent exists everything it needs is
 * installed, so that a new process can finish it.
 */
export class SpecStore {
  readonly #layout: Layout;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** Before the first apply: an empty spec. */
  async current(): Promise<SentSpec> {
    return (await this.#read(this.#layout.spec)) ?? {};
  }

  async save(spec: SentSpec): Promise<void> {
    await writeFileDurably(this.#layout.spec, JSON.stringify(spec));
  }

  async intent(): Promise<SentSpec | undefined> {
    return this.#read(this.#layout.applyIntent);
  }

  async saveIntent(spec: SentSpec): Promise<void> {
    await writeFileDurably(this.#layout.applyIntent, JSON.stringify(spec));
  }

  async clearIntent(): Promise<void> {
    await rm(this.#layout.applyIntent, { force: true });
    await syncDirectory(dirname(this.#layout.applyIntent));
  }

  async #read(path: string): Promise<SentSpec | undefined> {
    let content: string;
    try {
      content = await readFile(path, 'utf8');
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined;
      throw error;
    }
    const document = parse(content);
    if (!isJsonObject(document)) {
      throw new ActionError(`Getting current spec: '${path}' is not a JSON object`, {
        code: 'E_SPEC_UNREADABLE',
        advice: 'Apply a spec again; the file is replaced then.',
      });
    }
    // Written by `save` after validation, or by the original agent in the same form.
    return document;
  }
}

function parse(content: string): unknown {
  try {
    return JSON.parse(content) as unknown;
  } catch {
    return undefined;
  }
}

/** The keys that the original keeps, with its defaults: what get_state shows. */
export function specForState(spec: SentSpec): JsonObject {
  const job = spec.job;
  return {
    properties: { logging: { max_log_file_size: spec.properties?.logging?.max_log_file_size ?? '' } },
    job: {
      name: job?.name ?? null,
      release: job?.release ?? '',
      template: job?.template ?? '',
      version: job?.version ?? '',
      templates: job?.templates?.map(({ name, version }) => ({ name, version })) ?? null,
    },
    packages: json(spec.packages ?? {}),
    configuration_hash: spec.configuration_hash ?? '',
    networks: json(spec.networks ?? {}),
    resource_pool: spec.resource_pool ?? {},
    deployment: spec.deployment ?? '',
    name: spec.name ?? '',
    index: spec.index ?? null,
    id: spec.id ?? '',
    az: spec.az ?? '',
    persistent_disk: spec.persistent_disk ?? 0,
    rendered_templates_archive: json(spec.rendered_templates_archive ?? null),
  };
}

/** Everything that came as JSON is JSON. */
function json(value: unknown): Json {
  return value as Json;
}
