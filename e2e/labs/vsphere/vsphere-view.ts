import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { VsphereUnderTest } from '@microbosh/cpi-vsphere/testing';
import { Agent, request } from 'undici';
import type { Vcsim } from './vcsim.ts';

/** The simulator past the CPI: its own API with requests written out here, and the folders that its datastores are. */
export class VsphereView {
  readonly #host: string;
  readonly #password: string;
  readonly #folder: string;
  readonly #dispatcher: Agent;
  #cookie = '';

  constructor(vcsim: Pick<Vcsim, 'host' | 'password' | 'ca'>, folder: string) {
    this.#host = vcsim.host;
    this.#password = vcsim.password;
    this.#folder = folder;
    this.#dispatcher = new Agent({ connect: { ca: vcsim.ca } });
  }

  async close(): Promise<void> {
    await this.#dispatcher.close();
  }

  async #soap(body: string): Promise<string> {
    const answer = await request(`https://${this.#host}/sdk`, {
      method: 'POST',
      headers: { 'content-type': 'text/xml', ...(this.#cookie === '' ? {} : { cookie: this.#cookie }) },
      body: `<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><s:Body>${body}</s:Body></s:Envelope>`,
      dispatcher: this.#dispatcher,
    });
    const cookie = [answer.headers['set-cookie'] ?? []].flat()[0];
    if (cookie !== undefined) this.#cookie = cookie.split(';')[0] ?? '';
    const text = await answer.body.text();
    if (answer.statusCode !== 200) throw new Error(`vcsim: ${answer.statusCode} ${text}`);
    return text;
  }

  async login(): Promise<void> {
    await this.#soap(
      `<Login xmlns="urn:vim25"><_this type="SessionManager">SessionManager</_this><userName>lab</userName><password>${this.#password}</password></Login>`,
    );
  }

  /** Every VM with some of its properties, as XML. */
  async #vms(paths: readonly string[]): Promise<readonly string[]> {
    const view = await this.#soap(
      '<CreateContainerView xmlns="urn:vim25"><_this type="ViewManager">ViewManager</_this><container type="Folder">group-d1</container><type>VirtualMachine</type><recursive>true</recursive></CreateContainerView>',
    );
    const id = /<returnval[^>]*>([^<]+)</.exec(view)?.[1] ?? '';
    const pathSet = paths.map((path) => `<pathSet>${path}</pathSet>`).join('');
    const answer = await this.#soap(
      `<RetrieveProperties xmlns="urn:vim25"><_this type="PropertyCollector">propertyCollector</_this><specSet><propSet><type>VirtualMachine</type>${pathSet}</propSet><objectSet><obj type="ContainerView">${id}</obj><skip>true</skip><selectSet xsi:type="TraversalSpec"><type>ContainerView</type><path>view</path></selectSet></objectSet></specSet></RetrieveProperties>`,
    );
    return answer.split('<returnval>').slice(1);
  }

  /** VMs, and the files of the datastores; folders that hold nothing are not counted. */
  async everything(): Promise<readonly string[]> {
    const vms = await this.#vms(['name']);
    const files = await readdir(this.#folder, { recursive: true, withFileTypes: true });
    return [
      ...vms.map((vm) => `vm ${/<val[^>]*>([^<]*)</.exec(vm)?.[1] ?? ''}`),
      ...files
        .filter((file) => file.isFile() && /govcsim/.test(file.parentPath))
        .map((file) => `file ${join(file.parentPath, file.name).slice(this.#folder.length + 1)}`),
    ];
  }

  async vm(cid: string) {
    const paths = ['name', 'config.hardware', 'config.version', 'config.extraConfig', 'runtime.powerState'];
    const vm = (await this.#vms(paths)).find((text) => text.includes(`>${cid}</val>`)) ?? '';
    const one = (pattern: RegExp) => pattern.exec(vm)?.[1] ?? '';
    return {
      id: one(/<obj type="VirtualMachine">([^<]+)</),
      cpus: Number(one(/<numCPU>(\d+)</)),
      memoryMiB: Number(one(/<memoryMB>(\d+)</)),
      version: one(/>(vmx-\d+)</),
      powerState: one(/>(powered\w+)</),
      isoPath: one(/<fileName>([^<]+\.iso)</),
      guestUserData: one(/<key>guestinfo\.userdata<\/key>\s*<value[^>]*>([^<]*)</),
      macs: [...vm.matchAll(/<macAddress>([^<]+)</g)].map(([, mac = '']) => mac),
    };
  }

  /** A file of a datastore, by `[datastore] path`. */
  async download(place: string): Promise<Buffer> {
    const [, datastore = '', path = ''] = /^\[([^\]]+)\] (.+)$/.exec(place) ?? [];
    const query = new URLSearchParams({ dcPath: 'DC0', dsName: datastore });
    const answer = await request(`https://${this.#host}/folder/${path}?${query.toString()}`, {
      headers: { cookie: this.#cookie },
      dispatcher: this.#dispatcher,
    });
    const content = Buffer.from(await answer.body.arrayBuffer());
    if (answer.statusCode !== 200) throw new Error(`${place}: status ${answer.statusCode}`);
    return content;
  }

  /** As if the server had been started anew: the client's session is none. */
  async endSessionsOf(client: VsphereUnderTest['client']): Promise<void> {
    const service = await client.service(undefined);
    await client.call(service.at('sessionManager'), 'Logout', {}, undefined);
  }
}
