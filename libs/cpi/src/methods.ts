import Type, { type Static, type TSchema } from 'typebox';
import Value from 'typebox/value';
import type { Json, JsonObject } from '@microbosh/errors';
import type { NetworksSpec } from '@microbosh/spec';
import type { CallContext, Cpi } from './contract.ts';
import { GenericCpiError, NotImplemented } from './errors.ts';

interface Method {
  /** Names for messages, in order. */
  readonly argumentNames: readonly string[];
  /** How many have to be there. */
  readonly required: number;
  readonly schemas: readonly TSchema[];
  call(cpi: Cpi, context: CallContext, args: readonly Json[], apiVersion: number): Promise<Json>;
}

const cid = Type.String({ minLength: 1 });
const map = Type.Unsafe<JsonObject>(Type.Record(Type.String(), Type.Unknown()));
const networks = Type.Unsafe<NetworksSpec>(
  Type.Record(Type.String(), Type.Record(Type.String(), Type.Unknown())),
);
const sizeMiB = Type.Integer({ minimum: 1 });
/** The Director sends numbers and booleans among the texts. */
const metadata = Type.Record(
  Type.String(),
  Type.Union([Type.String(), Type.Number(), Type.Boolean(), Type.Null()]),
);

function texts(value: Static<typeof metadata>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, item === null ? '' : String(item)]),
  );
}

/** Arguments by name, in the order of the wire; `as` only names what `Value.Check` has just proven. */
function method<const S extends Readonly<Record<string, TSchema>>>(
  schemas: S,
  required: number,
  call: (
    cpi: Cpi,
    context: CallContext,
    args: { readonly [K in keyof S]: Static<S[K]> },
    apiVersion: number,
  ) => Promise<Json | void>,
): Method {
  const names = Object.keys(schemas);
  return {
    argumentNames: names,
    required,
    schemas: Object.values(schemas),
    call: async (cpi, context, args, apiVersion) => {
      const named = Object.fromEntries(names.map((name, index) => [name, args[index] ?? null]));
      return (
        (await call(cpi, context, named as { readonly [K in keyof S]: Static<S[K]> }, apiVersion)) ?? null
      );
    },
  };
}

/** `null` stands for an argument that was left out. */
const orNull = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

export const cpiMethods: Readonly<Record<string, Method>> = {
  info: method({}, 0, async (cpi, context) => {
    const { api_version, stemcell_formats } = await cpi.info(context);
    return { api_version, stemcell_formats };
  }),
  create_stemcell: method({ image_path: cid, cloud_properties: orNull(map) }, 1, (cpi, context, args) =>
    cpi.createStemcell(context, args.image_path, args.cloud_properties),
  ),
  delete_stemcell: method({ stemcell_cid: cid }, 1, (cpi, context, args) =>
    cpi.deleteStemcell(context, args.stemcell_cid),
  ),
  create_vm: method(
    {
      agent_id: cid,
      stemcell_cid: cid,
      cloud_properties: orNull(map),
      networks,
      disk_cids: orNull(Type.Array(Type.String())),
      env: orNull(map),
    },
    4,
    async (cpi, context, args, apiVersion) => {
      const vm = await cpi.createVm(
        context,
        args.agent_id,
        args.stemcell_cid,
        args.cloud_properties ?? {},
        args.networks,
        args.disk_cids ?? [],
        args.env ?? {},
      );
      return apiVersion >= 2 ? [vm.cid, (vm.networks ?? args.networks) as unknown as Json] : vm.cid;
    },
  ),
  delete_vm: method({ vm_cid: cid }, 1, (cpi, context, args) => cpi.deleteVm(context, args.vm_cid)),
  has_vm: method({ vm_cid: cid }, 1, (cpi, context, args) => cpi.hasVm(context, args.vm_cid)),
  reboot_vm: method({ vm_cid: cid }, 1, (cpi, context, args) => cpi.rebootVm(context, args.vm_cid)),
  set_vm_metadata: method({ vm_cid: cid, metadata }, 2, (cpi, context, args) =>
    cpi.setVmMetadata(context, args.vm_cid, texts(args.metadata)),
  ),
  create_disk: method(
    { size: sizeMiB, cloud_properties: orNull(map), vm_cid: orNull(Type.String()) },
    1,
    (cpi, context, args) => cpi.createDisk(context, args.size, args.cloud_properties ?? {}, args.vm_cid),
  ),
  delete_disk: method({ disk_cid: cid }, 1, (cpi, context, args) => cpi.deleteDisk(context, args.disk_cid)),
  has_disk: method({ disk_cid: cid }, 1, (cpi, context, args) => cpi.hasDisk(context, args.disk_cid)),
  attach_disk: method({ vm_cid: cid, disk_cid: cid }, 2, async (cpi, context, args, apiVersion) => {
    const hint = await cpi.attachDisk(context, args.vm_cid, args.disk_cid);
    return apiVersion >= 2 ? hint : null;
  }),
  detach_disk: method({ vm_cid: cid, disk_cid: cid }, 2, (cpi, context, args) =>
    cpi.detachDisk(context, args.vm_cid, args.disk_cid),
  ),
  get_disks: method({ vm_cid: cid }, 1, (cpi, context, args) => cpi.getDisks(context, args.vm_cid)),
  set_disk_metadata: method({ disk_cid: cid, metadata }, 2, (cpi, context, args) =>
    cpi.setDiskMetadata(context, args.disk_cid, texts(args.metadata)),
  ),
  resize_disk: method({ disk_cid: cid, new_size: sizeMiB }, 2, (cpi, context, args) =>
    cpi.resizeDisk(context, args.disk_cid, args.new_size),
  ),
  snapshot_disk: method({ disk_cid: cid, metadata: orNull(metadata) }, 1, (cpi, context, args) =>
    cpi.snapshotDisk(context, args.disk_cid, texts(args.metadata ?? {})),
  ),
  delete_snapshot: method({ snapshot_cid: cid }, 1, (cpi, context, args) =>
    cpi.deleteSnapshot(context, args.snapshot_cid),
  ),
  calculate_vm_cloud_properties: method(
    {
      requirements: Type.Object({
        cpu: Type.Number({ exclusiveMinimum: 0 }),
        ram: sizeMiB,
        ephemeral_disk_size: sizeMiB,
      }),
    },
    1,
    (cpi, context, args) => cpi.calculateVmCloudProperties(context, args.requirements),
  ),
};

/**
 * Calls a method by its wire name. Arguments that are left out at the end are null, surplus ones are ignored (API v3
 * adds some). Throws NotImplemented for an unknown name and GenericCpiError for wrong arguments.
 */
export async function dispatch(
  cpi: Cpi,
  context: CallContext,
  name: string,
  args: readonly Json[],
  apiVersion: number,
): Promise<Json> {
  const found = Object.hasOwn(cpiMethods, name) ? cpiMethods[name] : undefined;
  if (found === undefined) throw new NotImplemented(`Method is not known, got: '${name}'`);
  if (args.length < found.required) {
    throw new GenericCpiError(
      `Arguments are not correct: ${name} needs ${found.required} (${found.argumentNames.join(', ')}), got ${args.length}`,
    );
  }
  for (const [index, schema] of found.schemas.entries()) {
    if (Value.Check(schema, args[index] ?? null)) continue;
    const [problem] = Value.Errors(schema, args[index] ?? null);
    throw new GenericCpiError(
      `Arguments are not correct: '${found.argumentNames[index] ?? ''}' of ${name} ${problem?.message ?? 'is wrong'}`,
    );
  }
  return found.call(cpi, context, args, apiVersion);
}
