import { blobPath } from '@microbosh/agent-protocol';
import type { BlobProvider } from './provider.ts';
import { download, probe, upload, type TransferOptions } from './http-transfer.ts';

export interface DavOptions {
  readonly endpoint: string;
  readonly user?: string;
  readonly password?: string;
  /** PEM of `tls.cert.ca`. */
  readonly ca?: string;
}

/** WebDAV as the Director's blobstore speaks it: `<endpoint>/<2 hex of sha1(id)>/<id>`. */
export class DavProvider implements BlobProvider {
  readonly #options: DavOptions;

  constructor(options: DavOptions) {
    this.#options = options;
  }

  async get(id: string, path: string, signal?: AbortSignal): Promise<void> {
    await download(this.#url(id), path, this.#transfer(signal));
  }

  async put(path: string, id: string, signal?: AbortSignal): Promise<void> {
    await upload(this.#url(id), path, this.#transfer(signal));
  }

  async has(id: string, signal?: AbortSignal): Promise<boolean> {
    return (await probe(this.#url(id), this.#transfer(signal))) === 200;
  }

  #url(id: string): URL {
    return new URL(`${this.#options.endpoint.replace(/\/+$/, '')}/${blobPath(id)}`);
  }

  #transfer(signal: AbortSignal | undefined): TransferOptions {
    const { user, password, ca } = this.#options;
    const credentials = Buffer.from(`${user ?? ''}:${password ?? ''}`).toString('base64');
    return {
      ...(user === undefined ? {} : { headers: { authorization: `Basic ${credentials}` } }),
      ...(ca === undefined ? {} : { ca }),
      ...(signal ? { signal } : {}),
    };
  }
}
