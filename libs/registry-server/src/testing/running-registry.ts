import { request as plainRequest } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import type { SecureContext } from 'node:tls';
import { join } from 'node:path';
import { createRegistryServer, newKeyMaterial } from '../index.ts';
import type { BoundListener, RegistryServer, RegistryServerOptions, RegistryStore } from '../index.ts';
import type { PasswordHasher } from '../access/passwords.ts';
import { TestCa } from './certificates.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  /** The body as JSON; undefined when it is none. */
  readonly json: Record<string, unknown> | undefined;
}

export interface CallOptions {
  readonly auth?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly localAddress?: string;
  /** Instead of `ca`, for many calls. */
  readonly secureContext?: SecureContext;
}

export const ADMIN = 'admin:s3:cret';
export const READER = 'reader:look';

/** Quick, for tests that are not about passwords. Counts what it is asked. */
export class FakeHasher implements PasswordHasher {
  verifications = 0;
  async hash(password: string): Promise<string> {
    return `fake$${password}`;
  }
  async verify(password: string, hash: string): Promise<boolean> {
    this.verifications += 1;
    return hash === `fake$${password}`;
  }
  decoy(): string {
    return 'decoy';
  }
}

export interface RunningRegistry {
  readonly server: RegistryServer;
  readonly bound: BoundListener;
  readonly hasher: FakeHasher;
  /** One request on a connection of its own. */
  call(method: string, path: string, options?: CallOptions): Promise<Answer>;
  stop(): Promise<void>;
}

export type Overrides = Partial<RegistryServerOptions> & {
  readonly tls?: boolean;
  readonly clientCa?: string;
};

/** A registry on a free port of 127.0.0.1; by default with TLS, SQLite and one administrator of each kind. */
export async function startRegistry(overrides: Overrides = {}): Promise<RunningRegistry> {
  const { tls = true, clientCa, ...options } = overrides;
  const directory = mkdtempSync(join(tmpdir(), 'microbosh-registry-'));
  const ca = tls ? await sharedCa() : undefined;
  const issued = await ca?.issue('registry');
  const hasher = new FakeHasher();
  const store: RegistryStore | { sqliteFile: string } = options.store ?? {
    sqliteFile: join(directory, 'registry.db'),
  };
  const material = newKeyMaterial(0);
  const server = await createRegistryServer({
    admins: [
      { user: 'admin', password: 's3:cret', access: 'read-write' },
      { user: 'reader', password: 'look', access: 'read-only' },
    ],
    listeners: [
      {
        address: '127.0.0.1',
        port: 0,
        ...(issued ? { tls: { ...issued, ...(clientCa === undefined ? {} : { clientCa }) } } : {}),
      },
    ],
    ...('sqliteFile' in store ? {} : { encryption: { load: async () => material } }),
    hasher,
    drainMs: 2_000,
    ...options,
    store,
  });
  const [bound] = await server.listen();
  if (!bound) throw new Error('one listener was asked for');
  return {
    server,
    bound,
    hasher,
    call: (method, path, callOptions = {}) =>
      call(`${bound.url}${path}`, method, { ...(ca ? { ca: ca.certificate } : {}), ...callOptions }),
    async stop() {
      await server.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

let shared: Promise<TestCa> | undefined;
/** One CA for all registries of a test file. */
export function sharedCa(): Promise<TestCa> {
  shared ??= TestCa.create();
  return shared;
}

export function call(url: string, method: string, options: CallOptions = {}): Promise<Answer> {
  const { auth, headers, body, ...connection } = options;
  // Not `new URL(…).pathname`: that would tidy up the very paths that are tested.
  const [, scheme = '', host = '', port = '', path = ''] = /^(https?):\/\/(.*?):(\d+)(.*)$/s.exec(url) ?? [];
  const send = scheme === 'https' ? tlsRequest : plainRequest;
  return new Promise((resolve, reject) => {
    const request = send(
      {
        host,
        port,
        path,
        method,
        agent: false,
        ...connection,
        headers: {
          ...(auth === undefined ? {} : { authorization: `Basic ${Buffer.from(auth).toString('base64')}` }),
          // Node.js frames the body of a DELETE only when it is told to.
          ...(body === undefined || headers?.['transfer-encoding'] !== undefined
            ? {}
            : { 'content-length': String(Buffer.byteLength(body)) }),
          ...headers,
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: jsonOf(text) });
        });
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

function jsonOf(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

/** Mints a token for an instance. */
export async function mint(registry: RunningRegistry, id: string, limits: object = {}): Promise<string> {
  const answer = await registry.call('POST', `/instances/${encodeURIComponent(id)}/tokens`, {
    auth: ADMIN,
    body: JSON.stringify(limits),
  });
  const token = answer.json?.['token'];
  if (typeof token !== 'string') throw new Error(`no token: ${answer.status}`);
  return token;
}
