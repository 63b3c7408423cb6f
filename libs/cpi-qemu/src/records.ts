import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import Type, { type Static, type TSchema } from 'typebox';
import Value from 'typebox/value';
import { errorCode, messageOf } from '@microbosh/errors';
import { syncDirectory, writeFileDurably } from '@microbosh/host';
import { QemuRecordInvalid } from './qemu-errors.ts';

const metadata = Type.Record(Type.String(), Type.String());
const common = { version: Type.Literal(1), cid: Type.String(), createdAt: Type.String() };

const bridge = Type.Object({
  name: Type.String(),
  hostInterface: Type.String(),
  subnet: Type.String(),
  address: Type.String(),
  prefix: Type.Integer(),
});

const stemcellSchema = Type.Object({ ...common, sizeBytes: Type.Integer() });

const vmSchema = Type.Object({
  ...common,
  /** creating: no caller knows it yet; whoever finds it so may remove it. deleting: has to be finished. */
  state: Type.Union([Type.Literal('creating'), Type.Literal('created'), Type.Literal('deleting')]),
  stemcellCid: Type.String(),
  networkMode: Type.Union([Type.Literal('bridge'), Type.Literal('user')]),
  /** What create_vm answered. */
  networks: Type.Unsafe<Readonly<Record<string, object>>>(Type.Record(Type.String(), Type.Object({}))),
  nics: Type.Array(
    Type.Object({
      network: Type.String(),
      tap: Type.String(),
      mac: Type.String(),
      ip: Type.String(),
      dns: Type.String(),
      bridge,
    }),
  ),
  properties: Type.Object({
    cpus: Type.Integer(),
    memoryMiB: Type.Integer(),
    rootDiskMiB: Type.Integer(),
    ephemeralDiskMiB: Type.Integer(),
    ports: Type.Array(
      Type.Object({ hostAddress: Type.String(), hostPort: Type.Integer(), guestPort: Type.Integer() }),
    ),
  }),
  /** Attached persistent disks; QEMU is told of them again at each start. */
  disks: Type.Array(Type.Object({ cid: Type.String(), slot: Type.Integer() })),
  metadata,
});

const diskSchema = Type.Object({ ...common, sizeMiB: Type.Integer(), metadata });
const snapshotSchema = Type.Object({ ...common, diskCid: Type.String(), metadata });

export type StemcellRecord = Static<typeof stemcellSchema>;
export type VmRecord = Static<typeof vmSchema>;
export type DiskRecord = Static<typeof diskSchema>;
export type SnapshotRecord = Static<typeof snapshotSchema>;

export type ResourceKind = 'stemcell' | 'vm' | 'disk' | 'snapshot';

const prefixes: Readonly<Record<ResourceKind, string>> = {
  stemcell: 'sc-',
  vm: 'vm-',
  disk: 'disk-',
  snapshot: 'snap-',
};

/**
 * Twenty characters: as many as the serial number of a virtio disk has, so that the guest sees the whole cid. The same
 * token gives the same cid, which is what makes create_* idempotent.
 */
export function newCid(kind: ResourceKind, token?: string): string {
  const digits =
    token === undefined
      ? randomBytes(10).toString('hex')
      : createHash('sha256').update(`${kind}\0${token}`).digest('hex');
  return `${prefixes[kind]}${digits}`.slice(0, 20);
}

interface StoredRecord {
  readonly version: 1;
  readonly cid: string;
}

/**
 * The resources of one kind: a directory each, `<root>/<kind>s/<cid>/`, with `record.json` replaced atomically. A
 * directory without a record is what a killed call left, and belongs to nobody.
 */
export class Collection<T extends StoredRecord> {
  readonly #directory: string;
  readonly #schema: TSchema;

  constructor(directory: string, schema: TSchema) {
    this.#directory = directory;
    this.#schema = schema;
  }

  pathOf(cid: string, ...names: readonly string[]): string {
    return join(this.#directory, cid, ...names);
  }

  async find(cid: string): Promise<T | undefined> {
    // A cid comes from a caller and becomes a path.
    if (!/^(sc|vm|disk|snap)-[0-9a-f]{15,17}$/.test(cid)) return undefined;
    const path = this.pathOf(cid, 'record.json');
    try {
      return this.#parse(path, await readFile(path, 'utf8'));
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  async list(): Promise<T[]> {
    const records: T[] = [];
    for (const cid of await namesIn(this.#directory)) {
      const record = await this.find(cid);
      if (record !== undefined) records.push(record);
    }
    return records;
  }

  /** An empty directory for the resource, whatever an earlier call left there. */
  async renew(cid: string): Promise<string> {
    await this.remove(cid);
    await mkdir(this.pathOf(cid), { recursive: true, mode: 0o700 });
    await syncDirectory(this.#directory);
    return this.pathOf(cid);
  }

  async save(record: T): Promise<void> {
    await writeFileDurably(this.pathOf(record.cid, 'record.json'), `${JSON.stringify(record, null, 2)}\n`);
  }

  async remove(cid: string): Promise<void> {
    await rm(this.pathOf(cid), { recursive: true, force: true });
  }

  #parse(path: string, text: string): T {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw new QemuRecordInvalid(`${path} is not JSON: ${messageOf(error)}`, { cause: error });
    }
    if (!Value.Check(this.#schema, value)) {
      const [first] = Value.Errors(this.#schema, value);
      throw new QemuRecordInvalid(
        `${path} is not a record of this version: ${first?.instancePath ?? ''} ${first?.message ?? ''}`,
        { advice: 'Use the version of microbosh that wrote it.' },
      );
    }
    return value as T;
  }
}

export class Records {
  readonly stemcells: Collection<StemcellRecord>;
  readonly vms: Collection<VmRecord>;
  readonly disks: Collection<DiskRecord>;
  readonly snapshots: Collection<SnapshotRecord>;

  constructor(rootDir: string) {
    this.stemcells = new Collection(join(rootDir, 'stemcells'), stemcellSchema);
    this.vms = new Collection(join(rootDir, 'vms'), vmSchema);
    this.disks = new Collection(join(rootDir, 'disks'), diskSchema);
    this.snapshots = new Collection(join(rootDir, 'snapshots'), snapshotSchema);
  }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  }
}
