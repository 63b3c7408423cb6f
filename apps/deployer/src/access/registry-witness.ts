import { Agent, request as ask } from 'undici';
import { isJsonObject } from '@microbosh/errors';
import type { Json, JsonObject } from '@microbosh/errors';
import type { AnsweredRequest } from '@microbosh/registry-server';

/** Says what a registry saw of the VM whose agent does not answer; undefined: it does not know. */
export type RegistryWitness = (vmCid: string) => Promise<string | undefined>;

interface Sightings {
  reads: number;
  refused: number;
  /** Of the last read, and of the last refusal. */
  readAt?: Date;
  readFrom: string;
  refusedAt?: Date;
  refusedFrom: string;
}

const settingsRoute = /^\/instances\/:id\/settings(\/confirm)?$/;

/** Of the registry in this process: what agents asked for since the settings of the current VM were written. */
export class RegistrySightings {
  readonly #place: string;
  readonly #seen = new Map<string, Sightings>();
  #current: string | undefined;

  constructor(place: string) {
    this.#place = place;
  }

  saw({ method, route, instanceId, status, peer = 'unknown', identity }: AnsweredRequest, at: Date): void {
    if (instanceId === undefined || !settingsRoute.test(route)) return;
    if (method === 'PUT') {
      // The CPI's own: that of the VM that it is about to make, or changes.
      if (status === 200) this.#current = instanceId;
      return;
    }
    // A CPI asks with the credentials of this run; an agent of our clouds has a token.
    if (method === 'DELETE' || identity === 'admin') return;
    const seen = this.#seen.get(instanceId) ?? { reads: 0, refused: 0, readFrom: '', refusedFrom: '' };
    this.#seen.set(instanceId, seen);
    if (status < 400) {
      if (method === 'GET') seen.reads += 1;
      seen.readAt = at;
      seen.readFrom = peer;
    } else {
      seen.refused += 1;
      seen.refusedAt = at;
      seen.refusedFrom = peer;
    }
  }

  readonly testify: RegistryWitness = async () => {
    const seen = this.#current === undefined ? undefined : this.#seen.get(this.#current);
    if (this.#current === undefined) return undefined;
    if (seen?.readAt !== undefined) {
      return `The VM read its settings from the registry, last at ${clock(seen.readAt)} from ${seen.readFrom}: it booted, and its way to this machine is open.`;
    }
    if (seen?.refusedAt !== undefined) {
      return `The registry refused ${seen.refused} requests for the settings of the VM, the last at ${clock(seen.refusedAt)} from ${seen.refusedFrom}: what its user data holds does not fit.`;
    }
    return `Nobody asked the registry at ${this.#place} for the settings of the VM: it did not boot so far, or has no way there.`;
  };
}

export interface ExternalRegistry {
  readonly endpoint: string;
  readonly user: string;
  readonly password: string;
  readonly ca?: string;
}

/** A registry that the manifest names, when it is one of ours: others keep no count of what is read. */
export function externalWitness(registry: ExternalRegistry, since: Date): RegistryWitness {
  return async (vmCid) => {
    const rows = await instancesOf(registry).catch(() => undefined);
    if (rows === undefined) return undefined;
    const time = (row: JsonObject, key: string) => Date.parse(textOf(row[key]) || '0');
    const row =
      rows.find(({ id }) => id === vmCid) ??
      rows
        .filter((candidate) => time(candidate, 'last_write_at') >= since.getTime())
        .toSorted((a, b) => time(b, 'last_write_at') - time(a, 'last_write_at'))[0];
    if (row === undefined) return `The registry at ${registry.endpoint} has no settings of this VM.`;
    const readAt = new Date(time(row, 'last_read_at'));
    if (readAt >= since) {
      return `The VM read its settings from the registry at ${registry.endpoint}, last at ${clock(readAt)}.`;
    }
    const refused = typeof row['denied_reads'] === 'number' ? row['denied_reads'] : 0;
    return (
      `Nobody was given the settings of the VM by the registry at ${registry.endpoint} since this run began` +
      (refused > 0 ? `; it refused ${refused} requests for them so far.` : '.')
    );
  };
}

const pagesAtMost = 50;

async function instancesOf(registry: ExternalRegistry): Promise<JsonObject[]> {
  const dispatcher = new Agent({
    connect: { timeout: 5_000, ...(registry.ca === undefined ? {} : { ca: registry.ca }) },
  });
  const authorization = `Basic ${Buffer.from(`${registry.user}:${registry.password}`).toString('base64')}`;
  const rows: JsonObject[] = [];
  try {
    for (let page = 0, after = ''; page < pagesAtMost; page += 1) {
      const url = new URL('/instances', registry.endpoint);
      if (after !== '') url.searchParams.set('after', after);
      const signal = AbortSignal.timeout(10_000);
      const { statusCode, body } = await ask(url, { dispatcher, headers: { authorization }, signal });
      const document = (await body.json()) as Json;
      if (statusCode !== 200 || !isJsonObject(document) || !Array.isArray(document['instances'])) {
        throw new Error('it is no registry of ours');
      }
      rows.push(...(document['instances'] as readonly Json[]).filter(isJsonObject));
      after = textOf(document['next']);
      if (after === '') break;
    }
    return rows;
  } finally {
    await dispatcher.close();
  }
}

function textOf(value: Json | undefined): string {
  return typeof value === 'string' ? value : '';
}

function clock(moment: Date): string {
  return `${moment.toISOString().slice(11, 19)} UTC`;
}
