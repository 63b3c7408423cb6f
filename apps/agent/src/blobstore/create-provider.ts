import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { isJsonObject, type JsonObject } from '@microbosh/errors';
import { writeFileDurably, type CommandRunner } from '@microbosh/host';
import type { AgentSettings } from '@microbosh/spec';
import { copyFile } from 'node:fs/promises';
import { ActionError } from '../errors.ts';
import type { Layout } from '../layout.ts';
import type { LocalBlobs } from './local-blobs.ts';
import type { BlobProvider } from './provider.ts';

/** Path that create-env names for a local blobstore and that means the agent's own. */
const microCache = '/var/vcap/micro_bosh/data/cache';

/** Builds the provider that settings name. An executable `bosh-blobstore-<provider>` on PATH wins over our own code. */
export async function createProvider(
  blobstore: AgentSettings['blobstore'],
  parts: { readonly layout: Layout; readonly local: LocalBlobs; readonly runner: CommandRunner },
): Promise<BlobProvider> {
  const provider = blobstore?.provider ?? '';
  const options = blobstore?.options ?? {};
  if (provider === 'local' || provider === 'dummy' || provider === '') {
    return localProvider(text(options, 'blobstore_path'), parts);
  }
  const executable = await findOnPath(`bosh-blobstore-${provider}`);
  if (executable !== undefined) {
    const config = join(parts.layout.bosh, 'etc', `blobstore-${provider}.json`);
    await writeFileDurably(config, JSON.stringify(options));
    const { ExternalProvider } = await import('./external-provider.ts');
    return new ExternalProvider({ runner: parts.runner, executable, config });
  }
  if (provider === 'dav') return davProvider(options);
  if (provider === 's3') return s3Provider(options);
  throw new ActionError(`executable bosh-blobstore-${provider} not found in PATH`, {
    code: 'E_BLOBSTORE',
    advice: 'Built in are local, dav and s3; others need their executable on the stemcell.',
  });
}

async function localProvider(
  path: string | undefined,
  { local, layout }: { readonly layout: Layout; readonly local: LocalBlobs },
): Promise<BlobProvider> {
  if (path === undefined || path === microCache || path === layout.blobs) {
    return {
      get: async (id, target) => {
        const found = await local.find(id);
        if (found === undefined) throw absent(id);
        await copyFile(found, target);
      },
      put: (source, id) => local.adopt(id, source),
      has: async (id) => (await local.find(id)) !== undefined,
    };
  }
  return {
    get: async (id, target) => copyFile(join(path, id), target),
    put: async (source, id) => copyFile(source, join(path, id)),
    has: async (id) =>
      access(join(path, id)).then(
        () => true,
        () => false,
      ),
  };
}

async function davProvider(options: JsonObject): Promise<BlobProvider> {
  const endpoint = required(options, 'endpoint', 'dav');
  const [user, password] = [text(options, 'user'), text(options, 'password')];
  const tls =
    isJsonObject(options.tls) && isJsonObject(options.tls.cert) ? text(options.tls.cert, 'ca') : undefined;
  const { DavProvider } = await import('./dav-provider.ts');
  return new DavProvider({
    endpoint,
    ...(user === undefined ? {} : { user }),
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined ? {} : { ca: tls }),
  });
}

async function s3Provider(options: JsonObject): Promise<BlobProvider> {
  const region = text(options, 'region') ?? 'us-east-1';
  const host = text(options, 'host') ?? `s3.${region}.amazonaws.com`;
  const scheme = options.use_ssl === false ? 'http' : 'https';
  const port = typeof options.port === 'number' ? `:${options.port}` : '';
  const [folder, ca] = [text(options, 'folder') ?? text(options, 'folder_name'), text(options, 'ca')];
  const { S3Provider } = await import('./s3-provider.ts');
  return new S3Provider({
    bucket: required(options, 'bucket_name', 's3'),
    accessKeyId: required(options, 'access_key_id', 's3'),
    secretAccessKey: required(options, 'secret_access_key', 's3'),
    region,
    endpoint: /^https?:/.test(host) ? host : `${scheme}://${host}${port}`,
    ...(folder === undefined ? {} : { folder }),
    ...(ca === undefined ? {} : { ca }),
  });
}

function required(options: JsonObject, key: string, provider: string): string {
  const value = text(options, key);
  if (value !== undefined) return value;
  throw new ActionError(`The blobstore '${provider}' has no option '${key}'`, {
    code: 'E_BLOBSTORE',
    advice: `Give blobstore.options.${key} in the settings.`,
  });
}

function text(options: JsonObject, key: string): string | undefined {
  const value = options[key];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function absent(id: string): ActionError {
  return new ActionError(`Blob '${id}' is not there`, { code: 'E_BLOB_ABSENT' });
}

async function findOnPath(name: string): Promise<string | undefined> {
  for (const dir of (process.env.PATH ?? '').split(':')) {
    if (dir === '') continue;
    const candidate = join(dir, name);
    if (
      await access(candidate, constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return candidate;
  }
  return undefined;
}
