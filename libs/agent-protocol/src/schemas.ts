import type { Json } from '@microbosh/errors';
import { Type } from 'typebox';

/** Objects accept keys that they do not name, as the original does: newer peers add some. */
const optionalString = () => Type.Optional(Type.String());
const nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()]);

export const AnyJson = Type.Unsafe<Json>(Type.Unknown());
export const EmptyObject = Type.Object({});

/** Where a signed URL is used instead of the blobstore: extra headers of the request. */
const BlobHeaders = Type.Optional(nullable(Type.Record(Type.String(), Type.String())));

export const DiskHintSchema = Type.Union([
  Type.String(),
  Type.Object({
    path: optionalString(),
    volume_id: optionalString(),
    id: optionalString(),
    lun: optionalString(),
    host_device_id: optionalString(),
    iscsi_settings: Type.Optional(Type.Record(Type.String(), AnyJson)),
  }),
]);

export const PackageRefSchema = Type.Object({
  name: Type.String(),
  version: Type.String(),
  sha1: Type.String({ minLength: 1 }),
  blobstore_id: optionalString(),
  signed_url: optionalString(),
  blobstore_headers: BlobHeaders,
});

export const JobTemplateSchema = Type.Object({
  name: Type.String({ minLength: 1 }),
  version: Type.String(),
  sha1: optionalString(),
  blobstore_id: optionalString(),
});

export const NetworksSchema = Type.Record(Type.String(), Type.Record(Type.String(), AnyJson));

export const ApplySpecSchema = Type.Object({
  deployment: Type.Optional(nullable(Type.String())),
  name: Type.Optional(nullable(Type.String())),
  id: Type.Optional(nullable(Type.String())),
  az: Type.Optional(nullable(Type.String())),
  index: Type.Optional(nullable(Type.Integer())),
  job: Type.Optional(
    nullable(
      Type.Object({
        name: Type.Optional(nullable(Type.String())),
        release: optionalString(),
        template: optionalString(),
        version: optionalString(),
        sha1: optionalString(),
        blobstore_id: optionalString(),
        templates: Type.Optional(nullable(Type.Array(JobTemplateSchema))),
      }),
    ),
  ),
  packages: Type.Optional(nullable(Type.Record(Type.String(), PackageRefSchema))),
  rendered_templates_archive: Type.Optional(
    nullable(Type.Object({ sha1: optionalString(), blobstore_id: optionalString() })),
  ),
  configuration_hash: Type.Optional(nullable(Type.String())),
  networks: Type.Optional(nullable(NetworksSchema)),
  resource_pool: Type.Optional(AnyJson),
  persistent_disk: Type.Optional(nullable(Type.Integer())),
  properties: Type.Optional(
    nullable(
      Type.Object({
        logging: Type.Optional(nullable(Type.Object({ max_log_file_size: optionalString() }))),
      }),
    ),
  ),
});

export const CompileDependenciesSchema = Type.Record(
  Type.String(),
  Type.Object({
    name: Type.String(),
    version: Type.String(),
    sha1: Type.String({ minLength: 1 }),
    blobstore_id: optionalString(),
    package_get_signed_url: optionalString(),
    blobstore_headers: BlobHeaders,
  }),
);

export const CompileWithSignedUrlSchema = Type.Object({
  package_get_signed_url: Type.String({ minLength: 1 }),
  upload_signed_url: Type.String({ minLength: 1 }),
  digest: Type.String(),
  name: Type.String({ minLength: 1 }),
  version: Type.String(),
  deps: Type.Optional(nullable(CompileDependenciesSchema)),
  blobstore_headers: BlobHeaders,
});

export const CompiledPackageSchema = Type.Object({
  result: Type.Object({ blobstore_id: optionalString(), sha1: Type.String() }),
});

export const FetchLogsWithSignedUrlSchema = Type.Object({
  signed_url: Type.String({ minLength: 1 }),
  log_type: Type.String(),
  filters: Type.Optional(nullable(Type.Array(Type.String()))),
  blobstore_headers: BlobHeaders,
});

export const BundleLogsSchema = Type.Object({
  owning_user: optionalString(),
  log_type: Type.String(),
  filters: Type.Optional(nullable(Type.Array(Type.String()))),
});

export const UploadBlobSchema = Type.Object({
  blob_id: Type.String({ minLength: 1 }),
  checksum: Type.String(),
  payload: Type.String(),
});

export const SshArgumentsSchema = Type.Object({
  user: optionalString(),
  public_key: optionalString(),
  user_regex: optionalString(),
});

export const SyncDnsWithSignedUrlSchema = Type.Object({
  signed_url: Type.String({ minLength: 1 }),
  multi_digest: Type.String(),
  version: Type.Integer({ minimum: 0 }),
  blobstore_headers: BlobHeaders,
});

export const UpdateSettingsSchema = Type.Object({
  trusted_certs: Type.Optional(nullable(Type.String())),
  disk_associations: Type.Optional(
    nullable(Type.Array(Type.Object({ name: Type.String(), cid: Type.String() }))),
  ),
  mbus: Type.Optional(
    nullable(
      Type.Object({
        cert: Type.Optional(
          nullable(
            Type.Object({
              ca: optionalString(),
              certificate: optionalString(),
              private_key: optionalString(),
            }),
          ),
        ),
        urls: Type.Optional(nullable(Type.Array(Type.String()))),
      }),
    ),
  ),
  blobstores: Type.Optional(
    nullable(
      Type.Array(
        Type.Object({
          provider: optionalString(),
          options: Type.Optional(nullable(Type.Record(Type.String(), AnyJson))),
        }),
      ),
    ),
  ),
});

const Usage = Type.Object({ percent: Type.String(), inode_percent: optionalString() });

/** Numbers are strings, except the uptime, as both originals have it. */
export const VitalsSchema = Type.Object({
  load: Type.Optional(Type.Array(Type.String())),
  cpu: Type.Object({ user: optionalString(), sys: optionalString(), wait: optionalString() }),
  mem: Type.Object({ percent: optionalString(), kb: optionalString() }),
  swap: Type.Object({ percent: optionalString(), kb: optionalString() }),
  disk: Type.Object({
    system: Type.Optional(Usage),
    ephemeral: Type.Optional(Usage),
    persistent: Type.Optional(Usage),
  }),
  uptime: Type.Optional(Type.Object({ secs: Type.Optional(Type.Integer()) })),
});

export const ProcessSchema = Type.Object({
  name: Type.String(),
  state: Type.String(),
  uptime: Type.Optional(Type.Object({ secs: Type.Optional(Type.Integer()) })),
  mem: Type.Optional(
    Type.Object({ kb: Type.Optional(Type.Integer()), percent: Type.Optional(Type.Number()) }),
  ),
  cpu: Type.Optional(Type.Object({ total: Type.Optional(Type.Number()) })),
});

/** Everything beside these keys is the applied spec. */
export const StateSchema = Type.Object({
  agent_id: Type.String(),
  job_state: Type.String(),
  vm: nullable(Type.Record(Type.String(), AnyJson)),
  networks: nullable(NetworksSchema),
  deployment: Type.Optional(nullable(Type.String())),
  configuration_hash: Type.Optional(AnyJson),
  processes: Type.Optional(Type.Array(ProcessSchema)),
  vitals: Type.Optional(VitalsSchema),
});

/** `reason`: what was changed, why the step was skipped, or how it failed. */
export const BootstrapReportSchema = Type.Object({
  startedAt: Type.String(),
  steps: Type.Array(
    Type.Object({
      name: Type.String(),
      outcome: Type.Union([
        Type.Literal('done'),
        Type.Literal('unchanged'),
        Type.Literal('skipped'),
        Type.Literal('failed'),
      ]),
      reason: Type.Optional(Type.String()),
      durationMs: Type.Number({ minimum: 0 }),
    }),
  ),
});
