import { randomUUID } from 'node:crypto';
import { withRetries } from '@microbosh/cpi';
import type { CallContext, Cpi, CpiExtensions } from '@microbosh/cpi';
import { Cancelled, errorCode, isJsonObject, messageOf } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import type { EventBus } from '../events/event-bus.ts';
import type { Journal } from '../state/journal.ts';
import type { StateChange, StateStore } from '../state/state-store.ts';

export type Cloud = Cpi & CpiExtensions;
export type ResourceKind = 'stemcell' | 'vm' | 'disk';

const operations = { stemcell: 'create_stemcell', vm: 'create_vm', disk: 'create_disk' } as const;

/** A resource is gone: for a delete or a detach that is success. */
const goneCodes: ReadonlySet<string> = new Set([
  'E_CPI_VM_NOT_FOUND',
  'E_CPI_DISK_NOT_FOUND',
  'E_CPI_STEMCELL_NOT_FOUND',
  'E_CPI_DISK_NOT_ATTACHED',
]);

export function isGone(error: unknown): boolean {
  return goneCodes.has(errorCode(error) ?? '');
}

export function isNotImplemented(error: unknown): boolean {
  return errorCode(error) === 'E_CPI_NOT_IMPLEMENTED';
}

/** The CPI has the method not at all, or not for this. */
export function isNotOffered(error: unknown): boolean {
  return isNotImplemented(error) || errorCode(error) === 'E_CPI_NOT_SUPPORTED';
}

export interface EffectsOptions {
  readonly cloud: Cloud;
  readonly store: StateStore;
  readonly journal: Journal;
  readonly events: EventBus;
  /** Aborted: the next effect does not begin. One that has begun is brought to its end and recorded. */
  readonly signal: AbortSignal;
  readonly stemcellApiVersion: number;
  /** Attempts for a call that the CPI says may be repeated. Default 3, 2 s apart. */
  readonly retry?: { readonly attempts: number; readonly delayMs: number };
}

/**
 * The only way to change something outside of this process: intent in the journal, effect, result in the state,
 * outcome in the journal. Whatever is killed in between, the next run finds out by `settle` what became of it.
 */
export class Effects {
  readonly cloud: Cloud;
  readonly store: StateStore;
  readonly signal: AbortSignal;
  readonly #journal: Journal;
  readonly #events: EventBus;
  #stemcellApiVersion: number;

  constructor(options: EffectsOptions) {
    this.cloud = withRetries(options.cloud, options.retry ?? { attempts: 3, delayMs: 2_000, factor: 2 }, {
      mayRetry: () => !options.signal.aborted,
      onRetry: (method, error) =>
        options.events.message(`'${method}' of the CPI is tried again: ${messageOf(error)}`),
    });
    this.store = options.store;
    this.signal = options.signal;
    this.#journal = options.journal;
    this.#events = options.events;
    this.#stemcellApiVersion = options.stemcellApiVersion;
  }

  set stemcellApiVersion(version: number) {
    this.#stemcellApiVersion = version;
  }

  /** Context of a call that is not journaled. */
  context(token?: string): CallContext {
    return {
      directorUuid: this.store.current.director_id,
      requestId: `cpi-${randomUUID().slice(0, 8)}`,
      stemcellApiVersion: this.#stemcellApiVersion,
      ...(token === undefined ? {} : { token }),
    };
  }

  /** A point at which nothing is in flight. */
  throwIfCancelled(): void {
    if (this.signal.aborted) {
      throw new Cancelled('Stopped as asked, at a point from which the next run goes on', {
        advice: 'Run the same command again to continue.',
      });
    }
  }

  /** Makes a resource. `record` turns its CID into the change of the state that remembers it. */
  async create<T extends { readonly cid: string }>(
    kind: ResourceKind,
    args: JsonObject,
    call: (context: CallContext) => Promise<T>,
    record: (created: T) => StateChange,
  ): Promise<T> {
    this.throwIfCancelled();
    const intent = await this.#journal.begin(operations[kind], args);
    let created: T;
    try {
      created = await call(this.context(intent.token));
      if (created.cid === '') throw new Error(`The CPI answered '${operations[kind]}' with an empty CID`);
    } catch (error) {
      // An error is no proof that nothing was made. A lookup that fails leaves the intent open for the next run.
      await this.#settleOne(intent.id).catch(() => undefined);
      throw error;
    }
    await this.store.update(record(created));
    await this.#journal.end(intent, { ok: true, result: created.cid });
    return created;
  }

  /** Changes or deletes something; running it twice does no harm. `record` is saved when it is done. */
  async change(
    operation: string,
    args: JsonObject,
    call: (context: CallContext) => Promise<void>,
    record?: StateChange,
  ): Promise<void> {
    this.throwIfCancelled();
    const intent = await this.#journal.begin(operation, args);
    try {
      await call(this.context());
      if (record !== undefined) await this.store.update(record);
    } finally {
      // Done or not: the plan of the next run looks at the state, and repeats it if need be.
      await this.#journal.end(intent, { ok: true });
    }
  }

  /** Finds out what became of everything that an earlier run began and did not finish. */
  async settle(): Promise<void> {
    for (const intent of this.#journal.openIntents) await this.#settleOne(intent.id);
  }

  get hasOpenIntents(): boolean {
    return this.#journal.openIntents.length > 0;
  }

  async #settleOne(id: string): Promise<void> {
    const intent = this.#journal.openIntents.find((open) => open.id === id);
    if (intent === undefined) return;
    const kind = resourceKinds.find((known) => operations[known] === intent.operation);
    if (kind === undefined) {
      await this.#journal.end(intent, { ok: false });
      return;
    }
    if (this.cloud.findByToken === undefined) {
      this.#events.message(
        `A '${intent.operation}' of ${intent.at} got no answer, and this CPI cannot say whether it made something. ` +
          `Look for a ${kind} of that time in the cloud and delete it by hand.`,
        { level: 'warning', details: { operation: intent.operation, at: intent.at } },
      );
      await this.#journal.end(intent, { ok: false });
      return;
    }
    const cid = await this.cloud.findByToken(this.context(), kind, intent.token);
    const change = cid === undefined ? undefined : adopt(this.store, kind, cid, intent.arguments);
    if (change !== undefined) await this.store.update(change);
    await this.#journal.end(intent, { ok: cid !== undefined, result: cid ?? null });
  }
}

const resourceKinds = ['stemcell', 'vm', 'disk'] as const;

function stringOf(args: JsonObject, key: string): string {
  const value = args[key];
  return typeof value === 'string' ? value : '';
}

function numberOf(args: JsonObject, key: string): number {
  const value = args[key];
  return typeof value === 'number' ? value : 0;
}

function objectOf(args: JsonObject, key: string): JsonObject {
  const value = args[key];
  return isJsonObject(value) ? value : {};
}

/** Takes a resource that a lost answer left into the state. Undefined: the state knows it already. */
function adopt(
  store: StateStore,
  kind: ResourceKind,
  cid: string,
  args: JsonObject,
): StateChange | undefined {
  const state = store.current;
  switch (kind) {
    case 'stemcell':
      if (state.stemcells?.some((known) => known.cid === cid)) return undefined;
      return recordStemcell(store, cid, args);
    case 'disk':
      if (state.disks?.some((known) => known.cid === cid)) return undefined;
      return recordDisk(store, cid, args);
    case 'vm':
      if (state.current_vm_cid === cid || state.own.leftover_vms.includes(cid)) return undefined;
      // Never seen to answer: the plan decides whether it is the wanted one.
      if (state.current_vm_cid === '') return recordVm(cid, args, undefined);
      return { own: { leftover_vms: [...state.own.leftover_vms, cid] } };
    default:
      return kind satisfies never;
  }
}

export function recordStemcell(store: StateStore, cid: string, args: JsonObject): StateChange {
  const record = {
    id: randomUUID(),
    name: stringOf(args, 'name'),
    version: stringOf(args, 'version'),
    api_version: numberOf(args, 'api_version'),
    cid,
    unknown: {},
  };
  return {
    stemcells: [...(store.current.stemcells ?? []), record],
    own: {
      stemcell_digests: { ...store.current.own.stemcell_digests, [cid]: stringOf(args, 'digest') },
    },
  };
}

export function recordDisk(store: StateStore, cid: string, args: JsonObject): StateChange {
  const record = {
    id: randomUUID(),
    cid,
    size: numberOf(args, 'size'),
    cloud_properties: objectOf(args, 'cloud_properties'),
    unknown: {},
  };
  return {
    disks: [...(store.current.disks ?? []), record],
    own: { disk_roles: { ...store.current.own.disk_roles, [cid]: 'candidate' } },
  };
}

export function recordVm(cid: string, args: JsonObject, networks: JsonObject | undefined): StateChange {
  return {
    current_vm_cid: cid,
    own: {
      vm: {
        cid,
        agent_id: stringOf(args, 'agent_id'),
        fingerprint: stringOf(args, 'fingerprint'),
        address: stringOf(args, 'address'),
        ready: false,
        gave_up: false,
        metadata: '',
        networks: { ...(networks ?? objectOf(args, 'networks')) },
        packages: {},
        mounted_disk: '',
      },
    },
  };
}
