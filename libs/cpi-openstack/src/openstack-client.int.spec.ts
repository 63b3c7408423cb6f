import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JsonObject } from '@microbosh/errors';
import { Type } from 'typebox';
import { afterEach, describe, expect, it } from 'vitest';
import { OpenstackClient } from './openstack-client.ts';
import { openstackConfig } from './openstack-config.ts';

interface Pair {
  readonly key: string;
  readonly cert: string;
}

type Answer = (request: IncomingMessage, response: ServerResponse, count: number) => void;

/** Keystone with one service behind it, on loopback; `answer` is the service. */
class Cloud {
  readonly logins: string[] = [];
  readonly seen: string[] = [];
  #server: Server;
  #client: OpenstackClient | undefined;

  readonly #scheme: 'http' | 'https';

  private constructor(answer: Answer, expiresInMs: number, pair: Pair | undefined) {
    this.#scheme = pair === undefined ? 'http' : 'https';
    const serve = (request: IncomingMessage, response: ServerResponse) => {
      if (request.url === '/v3/auth/tokens') {
        this.logins.push(request.url);
        const url = `${this.#scheme}://127.0.0.1:${this.port}/compute`;
        response.writeHead(201, { 'x-subject-token': `token-${this.logins.length}` });
        response.end(
          JSON.stringify({
            token: {
              expires_at: new Date(Date.now() + expiresInMs).toISOString(),
              catalog: [{ type: 'compute', endpoints: [{ interface: 'public', url, region_id: 'R' }] }],
            },
          }),
        );
        return;
      }
      this.seen.push(`${request.method} ${request.url} ${String(request.headers['x-auth-token'])}`);
      answer(request, response, this.seen.length);
    };
    this.#server = pair === undefined ? createServer(serve) : createTlsServer(pair, serve);
  }

  static async start(answer: Answer, expiresInMs = 3_600_000, pair?: Pair): Promise<Cloud> {
    const cloud = new Cloud(answer, expiresInMs, pair);
    await new Promise<void>((resolve) => cloud.#server.listen(0, '127.0.0.1', resolve));
    return cloud;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  client(more: JsonObject = {}): OpenstackClient {
    const openstack = {
      auth_url: `${this.#scheme}://127.0.0.1:${this.port}/v3`,
      username: 'u',
      api_key: 'secret-key',
      project: 'p',
      domain: 'd',
      ...more,
    };
    const config = openstackConfig({ cloud: { plugin: 'openstack', properties: { openstack } } });
    this.#client ??= new OpenstackClient(config, { pauseMs: 1 });
    return this.#client;
  }

  async stop(): Promise<void> {
    await this.#client?.close();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

const any = Type.Object({});
let cloud: Cloud;
afterEach(() => cloud.stop());

describe('OpenstackClient', () => {
  it('logs in once for many calls', async () => {
    cloud = await Cloud.start((_, response) => response.end('{}'));
    const client = cloud.client();

    await Promise.all([1, 2, 3].map(() => client.call('compute', 'GET', '/servers', any)));

    expect(cloud.logins).toHaveLength(1);
    expect(cloud.seen).toEqual(Array(3).fill('GET /compute/servers token-1'));
  });

  it('logs in again once when the token is refused', async () => {
    cloud = await Cloud.start((_, response, count) => response.writeHead(count === 1 ? 401 : 200).end('{}'));

    await cloud.client().call('compute', 'POST', '/servers', any, { body: {} });

    expect(cloud.seen).toEqual(['POST /compute/servers token-1', 'POST /compute/servers token-2']);
  });

  it('renews a token that is about to end', async () => {
    cloud = await Cloud.start((_, response) => response.end('{}'), 30_000);
    const client = cloud.client();

    await client.call('compute', 'GET', '/a', any);
    await client.call('compute', 'GET', '/b', any);

    expect(cloud.logins).toHaveLength(2);
  });

  it.each([500, 503])('repeats a POST after %i, as the original does', async (status) => {
    cloud = await Cloud.start((_, response, count) => response.writeHead(count < 3 ? status : 202).end('{}'));

    await cloud.client().call('compute', 'POST', '/servers', any, { body: {} });

    expect(cloud.seen).toHaveLength(3);
  });

  it('waits as long as a 413 asks for', async () => {
    const started = Date.now();
    cloud = await Cloud.start((_, response, count) =>
      count === 1
        ? response.writeHead(413).end('{"overLimit":{"message":"slow","retryAfter":"1"}}')
        : response.end('{}'),
    );

    await cloud.client().call('compute', 'GET', '/servers', any);

    expect(Date.now() - started).toBeGreaterThanOrEqual(990);
  });

  it('never repeats a POST whose answer was lost', async () => {
    cloud = await Cloud.start((request) => request.socket.destroy());

    await expect(cloud.client().call('compute', 'POST', '/servers', any, { body: {} })).rejects.toThrow(
      /no answer/,
    );
    expect(cloud.seen).toHaveLength(1);
  });

  it('repeats a GET whose answer was lost', async () => {
    cloud = await Cloud.start((request, response, count) => {
      if (count === 1) request.socket.destroy();
      else response.end('{}');
    });

    await cloud.client().call('compute', 'GET', '/servers', any);

    expect(cloud.seen).toHaveLength(2);
  });

  it.each([
    [400, '{"badRequest":{"message":"no such flavor","code":400}}', 'no such flavor'],
    [409, '{"NeutronError":{"type":"X","message":"address in use","detail":""}}', 'address in use'],
    [403, 'Forbidden by a proxy', 'Forbidden by a proxy'],
  ])('shows the innermost message of a %i', async (status, body, shown) => {
    cloud = await Cloud.start((_, response) => response.writeHead(status).end(body));

    await expect(cloud.client().call('compute', 'GET', '/x', any)).rejects.toThrow(shown);
    expect(cloud.seen).toHaveLength(1);
  });

  it('takes the absence of what it deletes for success', async () => {
    cloud = await Cloud.start((_, response) => response.writeHead(404).end('{}'));

    await expect(cloud.client().delete('compute', '/servers/1', undefined)).resolves.toBeUndefined();
  });

  it('names the services and regions that the catalog lacks', async () => {
    cloud = await Cloud.start((_, response) => response.end('{}'));

    await expect(cloud.client({ region: 'elsewhere' }).call('compute', 'GET', '/x', any)).rejects.toThrow(
      /no public endpoint for compute.*elsewhere/,
    );
    await expect(cloud.client().call('volume', 'GET', '/x', any)).rejects.toThrow(
      /no public endpoint for volume/,
    );
  });

  it('keeps the password out of its messages', async () => {
    cloud = await Cloud.start((_, response) => response.writeHead(400).end('{}'));

    const error = await cloud
      .client()
      .call('compute', 'GET', '/x', any)
      .catch((caught: unknown) => caught);

    expect(JSON.stringify(error) + String(error)).not.toContain('secret-key');
  });
});

describe('OpenstackClient over TLS', () => {
  const pair = selfSigned('127.0.0.1');

  it('trusts the CA of connection_options, for Keystone and for the services of its catalog', async () => {
    cloud = await Cloud.start((_, response) => response.end('{}'), undefined, pair);

    await cloud
      .client({ connection_options: { ca_cert: pair.cert } })
      .call('compute', 'GET', '/servers', any);

    expect(cloud.seen).toEqual(['GET /compute/servers token-1']);
  });

  it.each([
    { name: 'no CA', options: {}, says: /self-signed certificate/ },
    { name: 'another CA', options: { ca_cert: selfSigned('127.0.0.1').cert }, says: /certificate/ },
  ])('says nothing to a cloud that it cannot verify: $name', async ({ options, says }) => {
    cloud = await Cloud.start((_, response) => response.end('{}'), undefined, pair);

    await expect(
      cloud.client({ connection_options: options }).call('compute', 'GET', '/servers', any),
    ).rejects.toThrow(says);
    expect(cloud.logins).toEqual([]);
  });

  it('says nothing to a cloud of another name', async () => {
    const other = selfSigned('127.0.0.9');
    cloud = await Cloud.start((_, response) => response.end('{}'), undefined, other);

    await expect(
      cloud.client({ connection_options: { ca_cert: other.cert } }).call('compute', 'GET', '/servers', any),
    ).rejects.toThrow(/does not match certificate's altnames/);
    expect(cloud.logins).toEqual([]);
  });

  it('does not look at the certificate when ssl_verify_peer is off', async () => {
    cloud = await Cloud.start((_, response) => response.end('{}'), undefined, pair);

    await cloud
      .client({ connection_options: { ssl_verify_peer: false } })
      .call('compute', 'GET', '/servers', any);

    expect(cloud.logins).toHaveLength(1);
  });
});

function selfSigned(address: string): Pair {
  const directory = mkdtempSync(join(tmpdir(), 'openstack-tls-'));
  try {
    const [key, cert] = [join(directory, 'key'), join(directory, 'cert')];
    execFileSync(
      'openssl',
      [
        ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=openstack'],
        ...['-addext', `subjectAltName=IP:${address}`, '-keyout', key, '-out', cert],
      ],
      { stdio: 'ignore' },
    );
    return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
