import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import Type, { type Static, type TSchema } from 'typebox';
import Value from 'typebox/value';
import { errorCode, messageOf } from '@microbosh/errors';
import { syncDirectory, writeFileDurably } from '@microbosh/host';
import { LocalRecordInvalid } from './local-errors.ts';
import { removeTree } from './mounts.ts';

const processIdentity = Type.Object({
  pid: Type.Integer(),
  startTicks: Type.Number(),
  bootId: Type.String(),
});

const bridgePlan = Type.Object({
  name: Type.String(),
  subnet: Type.String(),
  address: Type.String(),
  prefix: Type.Integer(),
});

const metadata = Type.Record(Type.String(), Type.String());

const stemcellSchema = Type.Object({
  version: Type.Literal(1),
  cid: Type.String(),
  kind: Type.Union([Type.Literal('host-rootfs'), Type.Literal('rootfs')]),
  createdAt: Type.String(),
});

const vmSchema = Type.Object({
  version: Type.Literal(1),
  cid: Type.String(),
  /**
   * creating: nothing was promised to a caller yet, whoever finds it removes it; created; deleting: has to be finished.
   */
  state: Type.Union([Type.Literal('creating'), Type.Literal('created'), Type.Literal('deleting')]),
  stemcellCid: Type.String(),
  createdAt: Type.String(),
  hostname: Type.String(),
  networks: Type.Unsafe<Readonly<Record<string, object>>>(Type.Record(Type.String(), Type.Object({}))),
  interfaces: Type.Array(
    Type.Object({
      network: Type.String(),
      guestName: Type.String(),
      hostName: Type.String(),
      mac: Type.String(),
      ip: Type.String(),
      prefix: Type.Integer(),
      defaultGateway: Type.Optional(Type.String()),
      bridge: bridgePlan,
    }),
  ),
  dns: Type.Array(Type.String()),
  limits: Type.Object({
    cpu: Type.Optional(Type.Number()),
    memoryMiB: Type.Optional(Type.Integer()),
  }),
  process: Type.Optional(processIdentity),
  metadata,
});

const diskSchema = Type.Object({
  version: Type.Literal(1),
  cid: Type.String(),
  sizeMiB: Type.Integer(),
  createdAt: Type.String(),
  attachedTo: Type.Optional(Type.String()),
  /** The ephemeral disk of this VM: goes with it. */
  ephemeralOf: Type.Optional(Type.String()),
  metadata,
});

const snapshotSchema = Type.Object({
  version: Type.Literal(1),
  cid: Type.String(),
  diskCid: Type.String(),
  createdAt: Type.String(),
  metadata,
});

const bridgeSchema = Type.Object({
  version: Type.Literal(1),
  cid: Type.String(),
  ...bridgePlan.properties,
  /** A process that has asked for the bridge before there is a VM. */
  holder: Type.Optional(processIdentity),
});

export type StemcellRecord = Static<typeof stemcellSchema>;
export type VmRecord = Static<typeof vmSchema>;
export type DiskRecord = Static<typeof diskSchema>;
export type SnapshotRecord = Static<typeof snapshotSchema>;
export type BridgeRecord = Static<typeof bridgeSchema>;

/**
 * The resources of one kind: a directory each, `<root>/<kind>/<cid>/`, with `record.json` written last and atomically.
 * A directory without a record is what a killed call left and belongs to nobody.
 */
export class Collection<T extends { readonly version: 1; readonly cid: string }> {
  readonly #directory: string;
  readonly #schema: TSchema;

  constructor(directory: string, schema: TSchema) {
    this.#directory = directory;
    this.#schema = schema;
  }

  pathOf(cid: string): string {
    return join(this.#directory, cid);
  }

  async cids(): Promise<string[]> {
    try {
      return (await readdir(this.#directory)).sort();
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return [];
      throw error;
    }
  }

  async find(cid: string): Promise<T | undefined> {
    // A cid comes from a caller and becomes a path.
    if (!isCid(cid)) return undefined;
    const path = join(this.pathOf(cid), 'record.json');
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined;
      throw error;
    }
    return this.#parse(path, text);
  }

  async list(): Promise<T[]> {
    const records: T[] = [];
    for (const cid of await this.cids()) {
      const record = await this.find(cid);
      if (record !== undefined) records.push(record);
    }
    return records;
  }

  /** Directories of ours without a record; what bears another name is none of our business. */
  async strays(): Promise<string[]> {
    const found: string[] = [];
    for (const cid of await this.cids()) {
      if (isCid(cid) && (await this.find(cid)) === undefined) found.push(cid);
    }
    return found;
  }

  async makeDirectory(cid: string): Promise<string> {
    const path = this.pathOf(cid);
    await mkdir(path, { recursive: true, mode: 0o700 });
    await syncDirectory(this.#directory);
    return path;
  }

  async save(record: T): Promise<void> {
    const path = await this.makeDirectory(record.cid);
    await writeFileDurably(join(path, 'record.json'), `${JSON.stringify(record, null, 2)}\n`);
  }

  async remove(cid: string): Promise<void> {
    await removeTree(this.pathOf(cid));
  }

  #parse(path: string, text: string): T {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw new LocalRecordInvalid(`${path} is not JSON: ${messageOf(error)}`, { cause: error });
    }
    if (!Value.Check(this.#schema, value)) {
      const [first] = Value.Errors(this.#schema, value);
      throw new LocalRecordInvalid(
        `${path} is not a record of this version: ${first?.instancePath ?? ''} ${first?.message ?? ''}`,
        { advice: 'Use the version of microbosh that wrote it.' },
      );
    }
    return value as T;
  }
}

function isCid(text: string): boolean {
  return /^[a-z]+-[0-9a-f-]{8,64}$/.test(text) || /^mb[0-9a-f]{10}$/.test(text);
}

export interface Store {
  readonly stemcells: Collection<StemcellRecord>;
  readonly vms: Collection<VmRecord>;
  readonly disks: Collection<DiskRecord>;
  readonly snapshots: Collection<SnapshotRecord>;
  readonly bridges: Collection<BridgeRecord>;
}

export function openStore(rootDir: string): Store {
  return {
    stemcells: new Collection(join(rootDir, 'stemcells'), stemcellSchema),
    vms: new Collection(join(rootDir, 'vms'), vmSchema),
    disks: new Collection(join(rootDir, 'disks'), diskSchema),
    snapshots: new Collection(join(rootDir, 'snapshots'), snapshotSchema),
    bridges: new Collection(join(rootDir, 'networks'), bridgeSchema),
  };
}
