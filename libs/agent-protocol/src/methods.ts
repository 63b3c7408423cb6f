import { Type, type Static, type TSchema } from 'typebox';
import {
  AnyJson,
  ApplySpecSchema,
  BootstrapReportSchema,
  BundleLogsSchema,
  CompiledPackageSchema,
  CompileDependenciesSchema,
  CompileWithSignedUrlSchema,
  DiskHintSchema,
  EmptyObject,
  FetchLogsWithSignedUrlSchema,
  SshArgumentsSchema,
  StateSchema,
  SyncDnsWithSignedUrlSchema,
  UpdateSettingsSchema,
  UploadBlobSchema,
} from './schemas.ts';

export interface Parameter<S extends TSchema = TSchema> {
  readonly name: string;
  readonly schema: S;
  /** May be left out; only at the end of the list. */
  readonly optional: boolean;
}

/** What the protocol promises about one method; the same table makes server validation, client types and reference. */
export interface MethodDefinition<
  P extends readonly Parameter[] = readonly Parameter[],
  R extends TSchema = TSchema,
> {
  /** `call` answers at once, `task` answers with a task id first. */
  readonly kind: 'call' | 'task';
  /** A call that becomes a task from this protocol version on. */
  readonly taskFromProtocol?: number;
  readonly parameters: P;
  readonly result: R;
  /** Survives a restart of the agent. */
  readonly persistent: boolean;
  readonly cancellable: boolean;
  /** False: arguments carry secrets and are never logged. */
  readonly loggable: boolean;
  /** A repetition does no harm, so a client may send it again after a lost answer. */
  readonly idempotent: boolean;
  readonly summary: string;
}

interface Traits {
  readonly taskFromProtocol?: number;
  readonly persistent?: boolean;
  readonly cancellable?: boolean;
  readonly loggable?: boolean;
  readonly idempotent?: boolean;
}

function required<const S extends TSchema>(name: string, schema: S) {
  return { name, schema, optional: false } as const;
}

function optional<const S extends TSchema>(name: string, schema: S) {
  return { name, schema, optional: true } as const;
}

function define(kind: 'call' | 'task') {
  return <const P extends readonly Parameter[], const R extends TSchema>(
    summary: string,
    parameters: P,
    result: R,
    traits: Traits = {},
  ): MethodDefinition<P, R> => ({
    kind,
    parameters,
    result,
    summary,
    persistent: false,
    cancellable: false,
    loggable: true,
    idempotent: true,
    ...traits,
  });
}

const call = define('call');
const task = define('task');

const text = Type.String();
const nonEmpty = Type.String({ minLength: 1 });
const cid = required('cid', nonEmpty);
const literal = <const T extends string>(value: T) => Type.Literal(value);
const strings = Type.Array(text);
const logResult = Type.Object({ blobstore_id: nonEmpty, sha1: Type.Optional(text) });
const script = Type.Union([
  Type.Object({ env: Type.Optional(Type.Union([Type.Record(text, text), Type.Null()])) }),
  Type.Null(),
]);

/** Every method of the protocol, in the order of the reference. */
export const methods = {
  ping: call('Answers that the agent is there.', [], literal('pong')),
  noop: call('Does nothing; the Ruby agent answered it.', [], literal('nope')),
  info: call('The API version.', [], Type.Object({ api_version: Type.Integer() })),
  get_task: call('The state of a task, or its final value.', [required('task id', nonEmpty)], AnyJson),
  cancel_task: call('Asks a task to stop.', [required('task id', nonEmpty)], literal('canceled')),
  get_state: call(
    'The applied spec, the state of the jobs, and with "full" the vitals.',
    [optional('filter', text)],
    StateSchema,
  ),
  get_bootstrap_report: call(
    'What each step of the last bootstrap did, and how long it took; ours.',
    [],
    BootstrapReportSchema,
  ),
  prepare: task(
    'Downloads and installs jobs and packages of a spec without enabling them.',
    [required('spec', ApplySpecSchema)],
    literal('prepared'),
  ),
  apply: task(
    'Makes the machine what the spec says; jobs are not started.',
    [required('spec', ApplySpecSchema)],
    AnyJson,
  ),
  start: call('Starts every job of the applied spec.', [], literal('started')),
  stop: task('Stops every job; waits for their end when protocol > 2.', [], literal('stopped')),
  drain: task(
    'Runs the drain scripts of all jobs.',
    [required('type', text), optional('next spec', ApplySpecSchema)],
    Type.Integer(),
    { cancellable: true, idempotent: false },
  ),
  run_script: task(
    'Runs one life cycle script of every job that has it, in parallel.',
    [required('script', nonEmpty), required('options', script)],
    EmptyObject,
    { idempotent: false },
  ),
  run_errand: task(
    'Runs the bin/run of a job and answers its output.',
    [optional('job', text)],
    Type.Object({ stdout: text, stderr: text, exit_code: Type.Integer() }),
    { cancellable: true, idempotent: false },
  ),
  compile_package: task(
    'Compiles a package from its source blob and uploads the result.',
    [
      required('blob id', text),
      required('digest', text),
      required('name', nonEmpty),
      required('version', text),
      required('dependencies', Type.Union([CompileDependenciesSchema, Type.Null()])),
    ],
    CompiledPackageSchema,
  ),
  compile_package_with_signed_url: task(
    'Compiles a package; source and result travel by signed URL.',
    [required('request', CompileWithSignedUrlSchema)],
    CompiledPackageSchema,
    { loggable: false },
  ),
  fetch_logs: task(
    'Packs logs into a blob.',
    [required('types', text), required('filters', Type.Union([strings, Type.Null()]))],
    logResult,
  ),
  fetch_logs_with_signed_url: task(
    'Packs logs and sends them to a signed URL.',
    [required('request', FetchLogsWithSignedUrlSchema)],
    Type.Object({ sha1: text }),
    { loggable: false },
  ),
  bundle_logs: call(
    'Packs logs into a file on the machine.',
    [required('request', BundleLogsSchema)],
    Type.Object({ logs_tar_path: nonEmpty, sha512: text }),
  ),
  remove_file: call('Deletes a file that bundle_logs left.', [required('path', nonEmpty)], text),
  upload_blob: task(
    'Stores a small secret blob on the machine.',
    [required('blob', UploadBlobSchema)],
    text,
    {
      loggable: false,
    },
  ),
  list_disk: call('CIDs of the persistent disks that are mounted.', [], strings, { taskFromProtocol: 3 }),
  add_persistent_disk: task(
    'Tells how an attached disk is found.',
    [cid, required('hint', DiskHintSchema)],
    EmptyObject,
  ),
  remove_persistent_disk: task('Forgets how a disk is found.', [cid], EmptyObject),
  mount_disk: task('Partitions and formats an empty disk, and mounts it.', [cid], EmptyObject),
  unmount_disk: task('Unmounts a persistent disk.', [cid], Type.Object({ message: text })),
  migrate_disk: task(
    'Copies the mounted disk to the second one, verifies the copy, and swaps them.',
    [optional('from cid', text), optional('to cid', text)],
    EmptyObject,
  ),
  add_dynamic_disk: task(
    'Links an attached disk below data/dynamic_disks.',
    [cid, required('hint', DiskHintSchema)],
    EmptyObject,
  ),
  remove_dynamic_disk: call('Removes the link of a dynamic disk.', [cid], EmptyObject),
  update_settings: task(
    'Certificates, disk names, message bus and blobstores after boot.',
    [required('settings', UpdateSettingsSchema)],
    literal('ok'),
    { persistent: true, loggable: false },
  ),
  associate_disks: task(
    'Names attached disks (eight days of 2016; now part of update_settings).',
    [
      required(
        'associations',
        Type.Object({
          diskAssociations: Type.Array(Type.Object({ name: nonEmpty, cid: nonEmpty })),
        }),
      ),
    ],
    literal('associated'),
  ),
  ssh: call(
    'Makes or removes a temporary user.',
    [required('command', text), required('arguments', SshArgumentsSchema)],
    Type.Object({
      command: text,
      status: text,
      ip: Type.Optional(text),
      host_public_key: Type.Optional(text),
    }),
    { idempotent: false },
  ),
  delete_arp_entries: call(
    'Forgets the hardware addresses of some IPs.',
    [required('request', Type.Object({ ips: strings }))],
    EmptyObject,
  ),
  sync_dns: call(
    'Takes a new set of host names from a blob.',
    [required('blob id', text), required('digest', text), required('version', Type.Integer({ minimum: 0 }))],
    literal('synced'),
  ),
  sync_dns_with_signed_url: call(
    'Takes a new set of host names from a signed URL.',
    [required('request', SyncDnsWithSignedUrlSchema)],
    literal('synced'),
    { loggable: false },
  ),
  shutdown: call('Powers the machine off.', [], text, { idempotent: false }),
  release_apply_spec: call(
    'The apply spec that is baked into a micro stemcell.',
    [],
    Type.Record(text, AnyJson),
  ),
  prepare_network_change: call('Forgets network identity before an image is taken.', [], AnyJson),
  prepare_configure_networks: call('Forgets cached settings before networks change.', [], literal('ok')),
  configure_networks: task(
    'Restarts the agent so that networks come from fresh settings.',
    [],
    literal('ok'),
    {
      persistent: true,
    },
  ),
} as const satisfies Record<string, MethodDefinition>;

export type MethodName = keyof typeof methods;

type ParameterValues<P extends readonly Parameter[]> = P extends readonly [
  infer First extends Parameter,
  ...infer Rest extends readonly Parameter[],
]
  ? First['optional'] extends true
    ? [Static<First['schema']>?, ...ParameterValues<Rest>]
    : [Static<First['schema']>, ...ParameterValues<Rest>]
  : [];

/** The arguments of a method, as a tuple. */
export type MethodArguments<M extends MethodName> = ParameterValues<(typeof methods)[M]['parameters']>;

/** The final value of a method. */
export type MethodResult<M extends MethodName> = Static<(typeof methods)[M]['result']>;

export function isMethodName(name: string): name is MethodName {
  return Object.hasOwn(methods, name);
}

/** The definition of a method without its particular types. */
export function methodDefinition(name: MethodName): MethodDefinition {
  return methods[name];
}

/** Whether a method answers with a task under a protocol version. */
export function isTask(name: MethodName, protocol: number): boolean {
  const { kind, taskFromProtocol } = methodDefinition(name);
  return kind === 'task' || (taskFromProtocol !== undefined && protocol >= taskFromProtocol);
}
