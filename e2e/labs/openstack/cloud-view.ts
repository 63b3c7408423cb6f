import { createReadStream } from 'node:fs';
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
  readonly floating_ip_address?: string;
}

export interface FloatingIp {
  readonly id: string;
  readonly address: string;
}

type Kind = 'server' | 'volume' | 'image' | 'port' | 'floatingip';

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
    this.#token = await this.#tokenOf('lab', this.setting('OS_PASSWORD'), 'lab');
  }

  async #tokenOf(name: string, password: string, project: string): Promise<string> {
    const user = { name, domain: { name: 'Default' }, password };
    const scope = { project: { name: project, domain: { name: 'Default' } } };
    const { headers, body } = await request(`${this.setting('OS_AUTH_URL')}/auth/tokens`, {
      method: 'POST',
      dispatcher: this.#dispatcher,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ auth: { identity: { methods: ['password'], password: { user } }, scope } }),
    });
    await body.dump();
    const token = headers['x-subject-token'];
    if (typeof token !== 'string') throw new Error(`Keystone gives ${name} no token`);
    return token;
  }

  async call(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    url: string,
    body?: object,
    token = this.#token,
  ): Promise<Record<string, unknown>> {
    const answer = await request(url, {
      method,
      dispatcher: this.#dispatcher,
      headers: { 'x-auth-token': token, 'content-type': 'application/json' },
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

  /** Origins of the services that a CPI talks to. */
  origins(): ReadonlyMap<'identity' | 'compute' | 'network' | 'image' | 'volume', string> {
    return new Map([
      ['identity', this.#service(5000)],
      ['compute', this.#service(8774)],
      ['network', this.#service(9696)],
      ['image', this.#service(9292)],
      ['volume', this.#service(8776)],
    ]);
  }

  get #neutron(): string {
    return `${this.#service(9696)}/v2.0`;
  }

  get #cinder(): string {
    return `${this.#service(8776)}/v3/${this.setting('OS_PROJECT_ID')}`;
  }

  async #list(url: string, key: string): Promise<readonly Listed[]> {
    return ((await this.call('GET', url))[key] ?? []) as readonly Listed[];
  }

  /** Everything that a CPI can make, by kind and name; ports of the lab's own router and DHCP are not counted. */
  async everything(): Promise<readonly string[]> {
    await this.login();
    const servers = await this.#list(`${this.#service(8774)}/v2.1/servers`, 'servers');
    const volumes = await this.#list(`${this.#cinder}/volumes`, 'volumes');
    const snapshots = await this.#list(`${this.#cinder}/snapshots`, 'snapshots');
    const images = await this.#list(`${this.#service(9292)}/v2/images?visibility=private`, 'images');
    const ports = (await this.#list(`${this.#neutron}/ports`, 'ports')).filter(
      ({ device_owner: owner }) => owner?.startsWith('network:') !== true,
    );
    const floatingIps = await this.#list(`${this.#neutron}/floatingips`, 'floatingips');
    const named = (kind: string, things: readonly Listed[]) =>
      things.map(({ id, name }) => `${kind} ${name === undefined || name === '' ? id : name}`);
    return [
      ...named('server', servers),
      ...named('volume', volumes),
      ...named('snapshot', snapshots),
      ...named('image', images),
      ...named('port', ports),
      ...floatingIps.map(({ floating_ip_address: address }) => `floating IP ${address ?? ''}`),
    ];
  }

  /** An address of the external network, as an operator allocates one before a deploy. */
  async allocateFloatingIp(): Promise<FloatingIp> {
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

  /** A file in the format of qcow2, which becomes an image of the project. */
  async uploadImage(name: string, file: string): Promise<string> {
    await this.login();
    const images = `${this.#service(9292)}/v2/images`;
    const about = { name, disk_format: 'qcow2', container_format: 'bare' };
    const { id } = (await this.call('POST', images, about)) as { id: string };
    const { statusCode, body } = await request(`${images}/${id}/file`, {
      method: 'PUT',
      dispatcher: this.#dispatcher,
      headers: { 'x-auth-token': this.#token, 'content-type': 'application/octet-stream' },
      body: createReadStream(file),
    });
    await body.dump();
    if (statusCode >= 300) throw new Error(`Glance does not take ${file}: ${statusCode}`);
    return id;
  }

  async deleteImage(id: string): Promise<void> {
    await this.login();
    await this.call('DELETE', this.#urlOf('image', id));
  }

  /** Sets the project's quota as the administrator; what is answered sets it back. */
  async limitServers(instances: number): Promise<() => Promise<void>> {
    const token = await this.#tokenOf(
      this.setting('LAB_ADMIN_USERNAME'),
      this.setting('LAB_ADMIN_PASSWORD'),
      this.setting('LAB_ADMIN_PROJECT_NAME'),
    );
    const url = `${this.#service(8774)}/v2.1/os-quota-sets/${this.setting('OS_PROJECT_ID')}`;
    const before = (await this.call('GET', url, undefined, token))['quota_set'] as { instances: number };
    const set = (value: number) =>
      this.call('PUT', url, { quota_set: { instances: value, force: true } }, token);
    await set(instances);
    return async () => void (await set(before.instances));
  }

  async #shown<T>(kind: Kind, id: string): Promise<T> {
    await this.login();
    const answer = await this.call('GET', this.#urlOf(kind, id));
    // Glance has no envelope.
    return (kind === 'image' ? answer : answer[kind]) as T;
  }

  #urlOf(kind: Kind, id: string): string {
    switch (kind) {
      case 'server':
        return `${this.#service(8774)}/v2.1/servers/${id}`;
      case 'volume':
        return `${this.#cinder}/volumes/${id}`;
      case 'image':
        return `${this.#service(9292)}/v2/images/${id}`;
      case 'port':
        return `${this.#neutron}/ports/${id}`;
      case 'floatingip':
        return `${this.#neutron}/floatingips/${id}`;
    }
  }

  async has(kind: Kind, id: string): Promise<boolean> {
    try {
      await this.#shown(kind, id);
      return true;
    } catch (error) {
      if (error instanceof Error && error.message.includes(': 404 ')) return false;
      throw error;
    }
  }

  server(id: string): Promise<{
    readonly metadata: Record<string, string>;
    readonly status: string;
    readonly image: { readonly id: string };
  }> {
    return this.#shown('server', id);
  }

  volume(id: string): Promise<{
    readonly status: string;
    readonly attachments: readonly { readonly server_id: string }[];
  }> {
    return this.#shown('volume', id);
  }

  image(id: string): Promise<{ readonly status: string }> {
    return this.#shown('image', id);
  }

  port(id: string): Promise<{ readonly device_id: string }> {
    return this.#shown('port', id);
  }

  floatingIp(
    id: string,
  ): Promise<{ readonly port_id: string | null; readonly fixed_ip_address: string | null }> {
    return this.#shown('floatingip', id);
  }
}
