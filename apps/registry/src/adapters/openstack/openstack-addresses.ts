import Type from 'typebox';
import { Check } from 'typebox/value';
import { Agent, request } from 'undici';
import type { InstanceAddresses } from '@microbosh/registry-server';
import type { OpenStackConfig } from '../../config/config.ts';

const Endpoint = Type.Object({
  interface: Type.Optional(Type.String()),
  region: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  url: Type.Optional(Type.String()),
  publicURL: Type.Optional(Type.String()),
  internalURL: Type.Optional(Type.String()),
  adminURL: Type.Optional(Type.String()),
});
const Catalog = Type.Array(Type.Object({ type: Type.String(), endpoints: Type.Array(Endpoint) }));
const V3Token = Type.Object({ token: Type.Object({ catalog: Catalog }) });
const V2Token = Type.Object({
  access: Type.Object({ token: Type.Object({ id: Type.String() }), serviceCatalog: Catalog }),
});
const Servers = Type.Object({
  servers: Type.Array(
    Type.Object({
      name: Type.String(),
      addresses: Type.Record(Type.String(), Type.Array(Type.Object({ addr: Type.String() }))),
    }),
  ),
});

interface Session {
  readonly token: string;
  readonly compute: string;
}

/**
 * The fixed and floating addresses of the server whose name is the instance id. One narrow question for each id,
 * instead of a listing of all servers; a token that has expired is replaced once.
 */
export class OpenStackAddresses implements InstanceAddresses {
  readonly #config: OpenStackConfig;
  readonly #agent: Agent;
  #session: Promise<Session> | undefined;

  constructor(config: OpenStackConfig, ca: string | undefined) {
    this.#config = config;
    this.#agent = new Agent({
      connect: { rejectUnauthorized: config.verifyPeer, ...(ca === undefined ? {} : { ca }) },
    });
  }

  async addressesOf(instanceId: string, signal: AbortSignal): Promise<readonly string[]> {
    const first = await this.#ask(instanceId, signal);
    if (first !== 'unauthorized') return first;
    this.#session = undefined;
    const second = await this.#ask(instanceId, signal);
    if (second === 'unauthorized') throw new Error('Unable to connect to OpenStack API: 401');
    return second;
  }

  async #ask(instanceId: string, signal: AbortSignal): Promise<readonly string[] | 'unauthorized'> {
    this.#session ??= this.#logIn(signal);
    let session: Session;
    try {
      session = await this.#session;
    } catch (error) {
      this.#session = undefined;
      throw error;
    }
    // Nova takes the name as a regular expression: it narrows the answer, the comparison below decides.
    const name = encodeURIComponent(`^${instanceId.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`);
    const answer = await this.#call('GET', `${session.compute}/servers/detail?name=${name}`, signal, {
      'x-auth-token': session.token,
    });
    if (answer.statusCode === 401) return 'unauthorized';
    if (answer.statusCode !== 200 || !Check(Servers, answer.body)) {
      throw new Error(`the compute service answered ${answer.statusCode}`);
    }
    return answer.body.servers
      .filter((server) => server.name === instanceId)
      .flatMap((server) => Object.values(server.addresses).flat())
      .map((address) => address.addr);
  }

  async #logIn(signal: AbortSignal): Promise<Session> {
    const { authUrl, username, password, tenant, project, userDomain, projectDomain } = this.#config;
    const base = authUrl.replace(/\/+$/, '').replace(/(\/auth)?\/tokens$/, '');
    if (/\/v2/.test(new URL(base).pathname)) {
      const answer = await this.#call(
        'POST',
        `${base}/tokens`,
        signal,
        {},
        {
          auth: { tenantName: tenant, passwordCredentials: { username, password } },
        },
      );
      if (answer.statusCode !== 200 || !Check(V2Token, answer.body)) throw loginFailed(answer.statusCode);
      const { access } = answer.body;
      return { token: access.token.id, compute: this.#computeUrl(access.serviceCatalog) };
    }
    const answer = await this.#call(
      'POST',
      `${base}/auth/tokens`,
      signal,
      {},
      {
        auth: {
          identity: {
            methods: ['password'],
            password: { user: { name: username, password, domain: { name: userDomain } } },
          },
          scope: { project: { name: project, domain: { name: projectDomain } } },
        },
      },
    );
    const token = answer.headers['x-subject-token'];
    if (answer.statusCode !== 201 || typeof token !== 'string' || !Check(V3Token, answer.body)) {
      throw loginFailed(answer.statusCode);
    }
    return { token, compute: this.#computeUrl(answer.body.token.catalog) };
  }

  #computeUrl(catalog: Type.Static<typeof Catalog>): string {
    const { endpointType, region } = this.#config;
    for (const service of catalog.filter((one) => one.type === 'compute')) {
      for (const endpoint of service.endpoints) {
        if (region !== undefined && endpoint.region !== region) continue;
        const url =
          endpoint.interface === undefined
            ? {
                publicURL: endpoint.publicURL,
                internalURL: endpoint.internalURL,
                adminURL: endpoint.adminURL,
              }[endpointType]
            : `${endpoint.interface}URL` === endpointType
              ? endpoint.url
              : undefined;
        if (url !== undefined) return url.replace(/\/+$/, '');
      }
    }
    throw new Error('the catalog has no compute service of this region and endpoint type');
  }

  async #call(
    method: 'GET' | 'POST',
    url: string,
    signal: AbortSignal,
    headers: Record<string, string>,
    body?: object,
  ): Promise<{ statusCode: number; headers: Record<string, string | string[] | undefined>; body: unknown }> {
    const answer = await request(url, {
      method,
      signal,
      dispatcher: this.#agent,
      headers: { accept: 'application/json', 'content-type': 'application/json', ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.body.text();
    return { statusCode: answer.statusCode, headers: answer.headers, body: parsed(text) };
  }
}

function loginFailed(statusCode: number): Error {
  return new Error(`Unable to connect to OpenStack API: ${statusCode}`);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
