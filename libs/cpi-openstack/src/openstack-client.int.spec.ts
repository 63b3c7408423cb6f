import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Type } from 'typebox';
import { afterEach, describe, expect, it } from 'vitest';
import { OpenstackClient } from './openstack-client.ts';
import { openstackConfig } from './openstack-config.ts';

type Answer = (request: IncomingMessage, response: ServerResponse, count: number) => void;

/** Keystone with one service behind it, on loopback; `answer` is the service. */
class Cloud {
  readonly logins: string[] = [];
  readonly seen: string[] = [];
  #server: Server;
  #client: OpenstackClient | undefined;

  private constructor(answer: Answer, expiresInMs: number) {
    this.#server = createServer((request, response) => {
      if (request.url === '/v3/auth/tokens') {
        this.logins.push(request.url);
        const url = `http://127.0.0.1:${this.port}/compute`;
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
    });
  }

  static async start(answer: Answer, expiresInMs = 3_600_000): Promise<Cloud> {
    const cloud = new Cloud(answer, expiresInMs);
    await new Promise<void>((resolve) => cloud.#server.listen(0, '127.0.0.1', resolve));
    return cloud;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  client(more: Record<string, string> = {}): OpenstackClient {
    const openstack = {
      auth_url: `http://127.0.0.1:${this.port}/v3`,
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
