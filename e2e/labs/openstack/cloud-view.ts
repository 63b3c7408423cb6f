import { Agent, request } from 'undici';

/** What `up` prints, as it stands in its file of settings. */
export type LabSettings = Readonly<Record<string, string>>;

export function parseSettings(text: string): LabSettings {
  const settings: Record<string, string> = {};
  for (const line of text.split('\n')) {
    const match = /^export ([A-Z_]+)=(.*)$/.exec(line);
    if (match?.[1] !== undefined) settings[match[1]] = (match[2] ?? '').replace(/^'(.*)'$/, '$1');
  }
  return settings;
}

interface Listed {
  readonly id: string;
  readonly name?: string;
  readonly device_owner?: string;
  readonly status?: string;
}

/** The lab seen from outside: the services' own APIs, without the CPI's code. */
export class CloudView {
  readonly #settings: LabSettings;
  readonly #dispatcher = new Agent();
  #token = '';

  constructor(settings: LabSettings) {
    this.#settings = settings;
  }

  setting(name: string): string {
    const value = this.#settings[name];
    if (value === undefined) throw new Error(`the lab's settings have no ${name}`);
    return value;
  }

  async close(): Promise<void> {
    await this.#dispatcher.close();
  }

  async login(): Promise<void> {
    const user = { name: 'lab', domain: { name: 'Default' }, password: this.setting('OS_PASSWORD') };
    const scope = { project: { name: 'lab', domain: { name: 'Default' } } };
    const { headers, body } = await request(`${this.setting('OS_AUTH_URL')}/auth/tokens`, {
      method: 'POST',
      dispatcher: this.#dispatcher,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ auth: { identity: { methods: ['password'], password: { user } }, scope } }),
    });
    await body.dump();
    this.#token = String(headers['x-subject-token'] ?? '');
    if (this.#token === '') throw new Error('Keystone gave no token');
  }

  async call(
    method: 'GET' | 'POST' | 'DELETE',
    url: string,
    body?: object,
  ): Promise<Record<string, unknown>> {
    const answer = await request(url, {
      method,
      dispatcher: this.#dispatcher,
      headers: { 'x-auth-token': this.#token, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.body.text();
    if (answer.statusCode >= 300) throw new Error(`${method} ${url}: ${answer.statusCode} ${text}`);
    return text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
  }

  /** The usual ports of the services (see the README), moved like Keystone's. */
  #service(port: number): string {
    const offset = Number(new URL(this.setting('OS_AUTH_URL')).port) - 5000;
    return `http://127.0.0.1:${port + offset}`;
  }

  get #neutron(): string {
    return `${this.#service(9696)}/v2.0`;
  }

  async #list(url: string, key: string): Promise<readonly Listed[]> {
    return ((await this.call('GET', url))[key] ?? []) as readonly Listed[];
  }

  /** Everything that a CPI can make, by kind and name; ports of the lab's own router and DHCP are not counted. */
  async everything(): Promise<readonly string[]> {
    await this.login();
    const cinder = `${this.#service(8776)}/v3/${this.setting('OS_PROJECT_ID')}`;
    const servers = await this.#list(`${this.#service(8774)}/v2.1/servers`, 'servers');
    const volumes = await this.#list(`${cinder}/volumes`, 'volumes');
    const snapshots = await this.#list(`${cinder}/snapshots`, 'snapshots');
    const images = await this.#list(`${this.#service(9292)}/v2/images?visibility=private`, 'images');
    const ports = (await this.#list(`${this.#neutron}/ports`, 'ports')).filter(
      ({ device_owner: owner }) => owner?.startsWith('network:') !== true,
    );
    const named = (kind: string, things: readonly Listed[]) =>
      things.map(({ id, name }) => `${kind} ${name === undefined || name === '' ? id : name}`);
    return [
      ...named('server', servers),
      ...named('volume', volumes),
      ...named('snapshot', snapshots),
      ...named('image', images),
      ...named('port', ports),
    ];
  }

  /** An address of the external network, as an operator allocates one before a deploy. */
  async allocateFloatingIp(): Promise<{ readonly id: string; readonly address: string }> {
    await this.login();
    const answer = await this.call('POST', `${this.#neutron}/floatingips`, {
      floatingip: { floating_network_id: this.setting('LAB_EXTERNAL_NETWORK_ID') },
    });
    const { id, floating_ip_address: address } = answer['floatingip'] as {
      id: string;
      floating_ip_address: string;
    };
    return { id, address };
  }

  async releaseFloatingIp(id: string): Promise<void> {
    await this.login();
    await this.call('DELETE', `${this.#neutron}/floatingips/${id}`);
  }

  async serverOf(
    cid: string,
  ): Promise<{ readonly metadata: Record<string, string>; readonly status: string }> {
    await this.login();
    const { server } = await this.call('GET', `${this.#service(8774)}/v2.1/servers/${cid}`);
    return server as { metadata: Record<string, string>; status: string };
  }

  async volumeOf(
    cid: string,
  ): Promise<{ readonly status: string; readonly attachments: readonly { readonly server_id: string }[] }> {
    await this.login();
    const cinder = `${this.#service(8776)}/v3/${this.setting('OS_PROJECT_ID')}`;
    const { volume } = await this.call('GET', `${cinder}/volumes/${cid}`);
    return volume as { status: string; attachments: { server_id: string }[] };
  }
}
