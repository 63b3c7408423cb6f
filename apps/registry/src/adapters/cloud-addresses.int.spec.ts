import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import { AwsAddresses } from './aws/aws-addresses.ts';
import { OpenStackAddresses } from './openstack/openstack-addresses.ts';

let server: Server | undefined;
afterEach(async () => {
  server?.closeAllConnections();
  await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)));
});

type Handler = (request: IncomingMessage, body: string, response: ServerResponse) => void;

async function listen(handler: Handler): Promise<string> {
  const started = createServer((request, response) => {
    void text(request).then((body) => handler(request, body, response));
  });
  server = started;
  await new Promise<void>((resolve) => started.listen(0, '127.0.0.1', resolve));
  const address = started.address();
  if (address === null || typeof address === 'string') throw new Error('a TCP listener has a port');
  return `http://127.0.0.1:${address.port}`;
}

const signal = () => AbortSignal.timeout(10_000);

describe('OpenStack', () => {
  /** A Keystone and a Nova that know two servers; `tokens` counts the logins, expired ones are refused. */
  async function openStack(version: 'v2.0' | 'v3', options: { expired?: number; refuse?: boolean } = {}) {
    const seen = { tokens: 0, queries: [] as string[], logins: [] as unknown[] };
    const base = await listen((request, body, response) => {
      const answer = (status: number, value: unknown, headers = {}) => {
        response
          .writeHead(status, { 'content-type': 'application/json', ...headers })
          .end(JSON.stringify(value));
      };
      const compute = `${base}/compute/v2.1/p`;
      if (request.method === 'POST') {
        seen.tokens += 1;
        seen.logins.push(JSON.parse(body));
        const token = `token-${seen.tokens}`;
        if (options.refuse) answer(401, {});
        else if (request.url === '/v3/auth/tokens') {
          const endpoints = [
            { interface: 'internal', region: 'R', url: 'http://internal.invalid' },
            { interface: 'public', region: 'other', url: 'http://other.invalid' },
            { interface: 'public', region: 'R', url: `${compute}/` },
          ];
          answer(201, { token: { catalog: [{ type: 'compute', endpoints }] } }, { 'x-subject-token': token });
        } else if (request.url === '/v2.0/tokens') {
          const endpoints = [{ region: 'R', publicURL: compute, internalURL: 'http://internal.invalid' }];
          answer(200, { access: { token: { id: token }, serviceCatalog: [{ type: 'compute', endpoints }] } });
        } else answer(404, {});
        return;
      }
      const token = Number(String(request.headers['x-auth-token']).replace('token-', ''));
      if (token <= (options.expired ?? 0)) return answer(401, {});
      seen.queries.push(new URL(request.url ?? '', base).searchParams.get('name') ?? '');
      const addresses = { net: [{ addr: '10.0.0.5' }, { addr: '172.16.0.9' }] };
      answer(200, {
        servers: [
          { name: 'vm-1', addresses },
          { name: 'vm-10', addresses: { net: [{ addr: '10.0.0.66' }] } },
        ],
      });
    });
    const adapter = new OpenStackAddresses(
      {
        plugin: 'openstack',
        authUrl: `${base}/${version}`,
        username: 'u',
        password: 'p',
        tenant: 't',
        project: 'pr',
        userDomain: 'ud',
        projectDomain: 'pd',
        region: 'R',
        endpointType: 'publicURL',
        verifyPeer: true,
      },
      undefined,
    );
    return { adapter, seen };
  }

  it.each(['v2.0', 'v3'] as const)(
    'tells the fixed and floating addresses of the server of that name, Keystone %s',
    async (version) => {
      const { adapter, seen } = await openStack(version);

      expect(await adapter.addressesOf('vm-1', signal())).toEqual(['10.0.0.5', '172.16.0.9']);
      expect(await adapter.addressesOf('vm-2', signal())).toEqual([]);
      expect(seen.tokens).toBe(1);
      expect(seen.queries).toEqual(['^vm-1$', '^vm-2$']);
    },
  );

  it('does not let an id be a pattern', async () => {
    const { adapter, seen } = await openStack('v3');

    expect(await adapter.addressesOf('vm-.*', signal())).toEqual([]);
    expect(seen.queries).toEqual(['^vm-\\.\\*$']);
  });

  it('logs in again once when the token has expired', async () => {
    const { adapter, seen } = await openStack('v3', { expired: 1 });

    expect(await adapter.addressesOf('vm-1', signal())).toHaveLength(2);
    expect(seen.tokens).toBe(2);
  });

  it('gives up when the second token is refused too, and when the login is', async () => {
    const expired = await openStack('v3', { expired: 9 });
    await expect(expired.adapter.addressesOf('vm-1', signal())).rejects.toThrow(
      /Unable to connect to OpenStack API/,
    );
    expect(expired.seen.tokens).toBe(2);
    server?.close();

    const refused = await openStack('v3', { refuse: true });
    await expect(refused.adapter.addressesOf('vm-1', signal())).rejects.toThrow(
      /Unable to connect to OpenStack API: 401/,
    );
  });
});

describe('AWS', () => {
  const xml = (inner: string) =>
    `<?xml version="1.0"?><DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId><reservationSet>${inner}</reservationSet></DescribeInstancesResponse>`;
  const INSTANCE =
    xml(`<item><instancesSet><item><instanceId>i-1</instanceId><privateIpAddress>10.0.0.5</privateIpAddress><ipAddress>54.0.0.1</ipAddress>
    <networkInterfaceSet><item><privateIpAddressesSet><item><privateIpAddress>10.0.0.6</privateIpAddress><association><publicIp>54.0.0.2</publicIp></association></item></privateIpAddressesSet></item></networkInterfaceSet>
    </item></instancesSet></item>`);

  async function ec2(answer: { status: number; body: string }) {
    const bodies: string[] = [];
    const endpoint = await listen((request, body, response) => {
      bodies.push(`${String(request.headers.authorization)} ${body}`);
      response.writeHead(answer.status, { 'content-type': 'text/xml' }).end(answer.body);
    });
    const adapter = new AwsAddresses(
      {
        plugin: 'aws',
        region: 'us-east-1',
        accessKeyId: 'AKIDEXAMPLE',
        secretAccessKey: 'secret',
        endpoint,
        maxRetries: 0,
        verifyPeer: true,
      },
      undefined,
    );
    return { adapter, bodies };
  }
  const failure = (code: string) =>
    `<Response><Errors><Error><Code>${code}</Code><Message>m</Message></Error></Errors><RequestID>r</RequestID></Response>`;

  it('tells private, public and elastic addresses of the instance', async () => {
    const { adapter, bodies } = await ec2({ status: 200, body: INSTANCE });

    expect(new Set(await adapter.addressesOf('i-1', signal()))).toEqual(
      new Set(['10.0.0.5', '54.0.0.1', '10.0.0.6', '54.0.0.2']),
    );
    expect(bodies[0]).toContain('Credential=AKIDEXAMPLE/');
    expect(bodies[0]).toContain('InstanceId.1=i-1');
  });

  it('knows no address of an unknown or malformed id', async () => {
    for (const code of ['InvalidInstanceID.NotFound', 'InvalidInstanceID.Malformed']) {
      const { adapter } = await ec2({ status: 400, body: failure(code) });
      expect(await adapter.addressesOf('i-9', signal())).toEqual([]);
      server?.close();
    }
  });

  it('says when EC2 fails', async () => {
    const { adapter } = await ec2({ status: 403, body: failure('UnauthorizedOperation') });

    await expect(adapter.addressesOf('i-1', signal())).rejects.toThrow();
  });
});
