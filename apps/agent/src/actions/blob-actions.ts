import { randomUUID } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { CompileRequest } from '../compile/compiler.ts';
import { ActionError, wrapping } from '../errors.ts';
import type { ActionTable } from '../handlers/dispatcher.ts';
import { hashFile } from '../blobstore/blob-manager.ts';
import { verifyFile } from '../blobstore/local-blobs.ts';
import { bundleLogs, tarballPrefix } from '../logs/log-bundle.ts';
import type { AgentParts } from './context.ts';

type SentDependencies = Readonly<
  Record<
    string,
    {
      readonly name: string;
      readonly version: string;
      readonly sha1: string;
      readonly blobstore_id?: string;
      readonly package_get_signed_url?: string;
      readonly blobstore_headers?: Record<string, string> | null;
    }
  >
>;

/** Compilation, logs and small blobs. */
export function blobActions(parts: AgentParts): ActionTable {
  const { blobs, compiler, layout, runner } = parts;
  return {
    compile_package: async ([blobId, digest, name, version, deps], context) => {
      const result = await compiler.compile(
        { source: { blobId, digest }, name, version, dependencies: dependencies(deps ?? {}) },
        context,
      );
      return { result: { blobstore_id: result.blobId, sha1: result.sha1 } };
    },
    compile_package_with_signed_url: async ([sent], context) => {
      const headers = sent.blobstore_headers ?? {};
      const request: CompileRequest = {
        source: { blobId: sent.name, digest: sent.digest, signedUrl: sent.package_get_signed_url, headers },
        name: sent.name,
        version: sent.version,
        dependencies: dependencies(sent.deps ?? {}),
      };
      return {
        result: {
          sha1: await compiler.compileTo(request, { url: sent.upload_signed_url, headers }, context),
        },
      };
    },
    fetch_logs: async ([types, filters], context) => {
      const tarball = await bundleLogs(types, filters ?? [], { layout, runner, signal: context.signal });
      try {
        const stored = await wrapping('Create file on blobstore', () => blobs.store(tarball, context.signal));
        return { blobstore_id: stored.blobId, sha1: stored.sha1 };
      } finally {
        await rm(tarball, { force: true });
      }
    },
    fetch_logs_with_signed_url: async ([sent], context) => {
      const tarball = await bundleLogs(sent.log_type, sent.filters ?? [], {
        layout,
        runner,
        signal: context.signal,
      });
      try {
        return {
          sha1: await blobs.storeAt(sent.signed_url, tarball, sent.blobstore_headers ?? {}, context.signal),
        };
      } finally {
        await rm(tarball, { force: true });
      }
    },
    bundle_logs: async ([sent]) => {
      const tarball = await bundleLogs(sent.log_type, sent.filters ?? [], { layout, runner });
      const user = sent.owning_user ?? '';
      if (user !== '') {
        if (!/^[a-z_][a-z0-9_-]*$/i.test(user))
          throw new ActionError('The user name is not valid', { code: 'E_USER' });
        await parts.host.machine.giveFile(tarball, user);
      }
      return { logs_tar_path: tarball, sha512: `sha512:${await hashFile('sha512', tarball)}` };
    },
    remove_file: async ([path]) => {
      // Only what bundle_logs leaves: the original deletes any path, as root.
      if (dirname(path) !== layout.tmp || !basename(path).startsWith(tarballPrefix)) {
        throw new ActionError('Only files that bundle_logs made can be removed', { code: 'E_REMOVE_FILE' });
      }
      await rm(path, { force: true });
      return path;
    },
    upload_blob: async ([{ blob_id: id, checksum, payload }]) => {
      const bytes = Buffer.from(payload, 'base64');
      const temporary = join(layout.sensitiveBlobs, `.${randomUUID()}.check`);
      try {
        await writeFile(temporary, bytes, { mode: 0o600 });
        await verifyFile(temporary, checksum, 'payload');
      } catch (error) {
        throw new ActionError(`Payload corrupted. Checksum mismatch. Expected '${checksum}'`, {
          code: 'E_DIGEST_MISMATCH',
          cause: error,
        });
      } finally {
        await rm(temporary, { force: true });
      }
      await parts.localBlobs.writeSensitive(id, bytes);
      return id;
    },
  };
}

function dependencies(sent: SentDependencies): CompileRequest['dependencies'] {
  return Object.entries(sent).map(([key, dependency]) => ({
    name: dependency.name === '' ? key : dependency.name,
    version: dependency.version,
    digest: dependency.sha1,
    blobId: dependency.blobstore_id ?? '',
    ...(dependency.package_get_signed_url === undefined
      ? {}
      : { signedUrl: dependency.package_get_signed_url }),
    ...(dependency.blobstore_headers ? { headers: dependency.blobstore_headers } : {}),
  }));
}
