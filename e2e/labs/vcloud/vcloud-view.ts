import { Agent, request } from 'undici';
import type { VcloudStub } from './stub/vcloud-stub.ts';

/** The peer past the CPI: its own API, with requests written out here. */
export class VcloudView {
  readonly #stub: VcloudStub;
  readonly #dispatcher: Agent;
  #token = '';

  constructor(stub: VcloudStub, ca: string) {
    this.#stub = stub;
    this.#dispatcher = new Agent({ connect: { ca } });
  }

  async close(): Promise<void> {
    await this.#dispatcher.close();
  }

  async #send(method: 'GET' | 'POST', url: string, headers: Readonly<Record<string, string>>) {
    const accept = 'application/*+xml;version=5.5';
    const answer = await request(url, {
      method,
      headers: { accept, ...headers },
      dispatcher: this.#dispatcher,
    });
    return { status: answer.statusCode, headers: answer.headers, text: await answer.body.text() };
  }

  async #get(url: string): Promise<string> {
    const offered = this.#stub.versions;
    // The view speaks the old version, whatever the CPI has to speak.
    this.#stub.versions = [...new Set([...offered, '5.5'])];
    try {
      let answer = await this.#send('GET', url, { 'x-vcloud-authorization': this.#token });
      if (answer.status === 401) {
        const { user, password, state, origin } = this.#stub;
        const basic = Buffer.from(`${user}@${state.organization.name}:${password}`).toString('base64');
        const login = await this.#send('POST', `${origin}/api/sessions`, { authorization: `Basic ${basic}` });
        this.#token = String(login.headers['x-vcloud-authorization']);
        answer = await this.#send('GET', url, { 'x-vcloud-authorization': this.#token });
      }
      if (answer.status !== 200) throw new Error(`${url}: ${answer.status} ${answer.text}`);
      return answer.text;
    } finally {
      this.#stub.versions = offered;
    }
  }

  /** vApps, templates, disks and media of the datacenter, and the items of its catalogs. */
  async everything(): Promise<readonly string[]> {
    const { state, origin } = this.#stub;
    const attribute = (tag: string, name: string) => new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1] ?? '';
    const organization = await this.#get(`${origin}/api/org/${state.organization.id}`);
    const links = organization.match(/<Link[^>]*>/g) ?? [];
    const of = (type: string) =>
      links.filter(
        (link) => attribute(link, 'type').includes(`.${type}+xml`) && attribute(link, 'rel') === 'down',
      );
    const found: string[] = [];
    for (const link of of('vdc')) {
      const vdc = await this.#get(attribute(link, 'href'));
      for (const entity of vdc.match(/<ResourceEntity [^>]*>/g) ?? [])
        found.push(
          `${attribute(entity, 'type').replace(/^.*\.(\w+)\+xml$/, '$1')} ${attribute(entity, 'name')}`,
        );
    }
    for (const link of of('catalog')) {
      const catalog = await this.#get(attribute(link, 'href'));
      for (const item of catalog.match(/<CatalogItem [^>]*>/g) ?? [])
        found.push(`item ${attribute(item, 'name')}`);
    }
    return found;
  }
}
