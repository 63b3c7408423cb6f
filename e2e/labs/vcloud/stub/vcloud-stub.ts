import { randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { parseXml } from '@microbosh/cpi/xml';
import type { XmlNode } from '@microbosh/cpi/xml';
import { Documents, versionsDocument } from './documents.ts';
import { SchemaJudge } from './schema-judge.ts';
import { Refusal, VcloudState } from './state.ts';
import type { Catalog, Disk, Media, Task, Vm } from './state.ts';
import { mediaType } from './xml.ts';

interface Exchange {
  readonly documents: Documents;
  /** Parts of the path that the route leaves open. */
  readonly ids: readonly string[];
  readonly body: Buffer;
  /** Of the whole body, also of what was not kept. */
  readonly sizeBytes: number;
  /** The request's document; refused before when there is none. */
  readonly xml: () => XmlNode;
  readonly version: number;
}

interface Reply {
  readonly status: number;
  readonly text?: string;
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

interface Route {
  readonly method: string;
  readonly path: RegExp;
  /** Media type and root element of the request. */
  readonly takes?: { readonly type: string; readonly root: string };
  readonly answer: (exchange: Exchange) => Reply;
}

const id = '([0-9a-f-]{36})';
/** Of a body; descriptors and settings are smaller. */
const keptBytes = 16 << 20;

function route(
  method: string,
  path: string,
  answer: Route['answer'],
  takes?: readonly [type: string, root: string],
): Route {
  const [type, root] = takes ?? [];
  const pattern = new RegExp(`^${path.replaceAll('ID', id)}/?$`);
  return {
    ...{ method, path: pattern, answer },
    ...(type === undefined || root === undefined ? {} : { takes: { type: mediaType(type), root } }),
  };
}

export interface StubOptions {
  readonly versions?: readonly string[];
  readonly tls?: { readonly key: string; readonly cert: string };
}

/**
 * A vCloud Director of one organisation for tests: documents and rules as the reference has them. Each document that comes or
 * goes is handed to the judge.
 */
export class VcloudStub {
  readonly state = new VcloudState();
  readonly judge = new SchemaJudge();
  readonly user = 'lab';
  readonly password = randomBytes(12).toString('hex');
  /** Versions of the API that are offered. */
  versions: readonly string[];
  origin = '';
  /** Seconds that nobody counts: sessions end when a test says so. */
  readonly #tokens = new Set<string>();
  readonly #server: Server;
  readonly #routes: readonly Route[];

  private constructor(options: StubOptions) {
    this.versions = options.versions ?? ['5.1', '5.5', '29.0', '31.0'];
    const listener: RequestListener = (incoming, outgoing) => {
      this.#handle(incoming, outgoing).catch(() => outgoing.destroy());
    };
    this.#server =
      options.tls === undefined ? createServer(listener) : createTlsServer(options.tls, listener);
    this.#routes = this.#allRoutes();
  }

  static async start(options: StubOptions = {}): Promise<VcloudStub> {
    const stub = new VcloudStub(options);
    await new Promise<void>((resolve, reject) => {
      stub.#server.once('error', reject);
      stub.#server.listen(0, '127.0.0.1', resolve);
    });
    const { port } = stub.#server.address() as AddressInfo;
    stub.origin = `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`;
    return stub;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  addCatalog(name: string): Catalog {
    return this.state.add<Catalog>({ kind: 'catalog', id: randomUUID(), name, tasks: [], items: [] });
  }

  endSessions(): void {
    this.#tokens.clear();
  }

  async #handle(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    for await (const chunk of incoming as AsyncIterable<Buffer>) {
      sizeBytes += chunk.length;
      // Of disks only the size is of interest.
      if (sizeBytes <= keptBytes) chunks.push(chunk);
    }
    const body = Buffer.concat(chunks);
    const { method = 'GET', url = '/' } = incoming;
    const path = decodeURIComponent(new URL(url, this.origin).pathname);
    const version = /;version=([\d.]+)/.exec(incoming.headers.accept ?? '')?.[1];
    const documents = new Documents(this.state, this.origin, Number(version ?? 0));
    let reply: Reply;
    try {
      reply = this.#answer(incoming, method, path, { body, sizeBytes }, version, documents);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      reply = { status: error.status, text: documents.refusal(error), type: 'vcloud.error' };
    }
    const { status, text, type, headers } = reply;
    const isXml = text?.startsWith('<') === true;
    if (isXml) this.judge.take(`answer to ${method} ${path}`, text);
    const contentType =
      type === undefined ? {} : { 'content-type': `${mediaType(type)};version=${version ?? ''}` };
    outgoing.writeHead(status, { ...contentType, ...headers });
    outgoing.end(text ?? '');
  }

  #answer(
    incoming: IncomingMessage,
    method: string,
    path: string,
    { body, sizeBytes }: { readonly body: Buffer; readonly sizeBytes: number },
    version: string | undefined,
    documents: Documents,
  ): Reply {
    if (path === '/discard') return { status: 200 };
    if (path === '/api/versions')
      return {
        status: 200,
        text: versionsDocument(this.origin, this.versions),
        headers: { 'content-type': 'text/xml' },
      };
    if (/^\/(api|cloudapi\/1\.0\.0)\/sessions(\/provider)?$/.test(path) && method === 'POST')
      return this.#login(incoming, path, version, documents);
    this.#authenticate(incoming);
    if (!path.startsWith('/transfer/') && !this.versions.includes(version ?? ''))
      throw new Refusal(
        406,
        'NOT_ACCEPTABLE',
        `The request has no version that is supported: ${version ?? ''}`,
      );
    for (const candidate of this.#routes) {
      const match = candidate.method === method ? candidate.path.exec(path) : null;
      if (match === null) continue;
      const xml =
        candidate.takes === undefined
          ? undefined
          : this.#received(candidate.takes, incoming, method, path, body);
      const document = (): XmlNode => {
        if (xml === undefined) throw new Error(`${path} takes no document`);
        return xml;
      };
      return candidate.answer({
        documents,
        ids: match.slice(1),
        body,
        sizeBytes,
        xml: document,
        version: Number(version),
      });
    }
    throw new Refusal(404, 'NOT_FOUND', `There is nothing for ${method} at ${path}.`);
  }

  #received(
    takes: NonNullable<Route['takes']>,
    incoming: IncomingMessage,
    method: string,
    path: string,
    body: Buffer,
  ): XmlNode {
    const type = incoming.headers['content-type'] ?? '';
    if (type.split(';')[0] !== takes.type)
      throw new Refusal(415, 'UNSUPPORTED_MEDIA_TYPE', `${type} for ${path}`);
    const text = body.toString('utf8');
    this.judge.take(`${method} ${path}`, text);
    let xml: XmlNode;
    try {
      xml = parseXml(text);
    } catch {
      throw new Refusal(400, 'BAD_REQUEST', 'The request is not XML.');
    }
    if (xml.name !== takes.root)
      throw new Refusal(400, 'BAD_REQUEST', `${xml.name} where ${takes.root} is wanted.`);
    return xml;
  }

  #login(incoming: IncomingMessage, path: string, version: string | undefined, documents: Documents): Reply {
    const [scheme = '', encoded = ''] = (incoming.headers.authorization ?? '').split(' ');
    const wanted = `${this.user}@${this.state.organization.name}:${this.password}`;
    const isRight = scheme === 'Basic' && Buffer.from(encoded, 'base64').toString('utf8') === wanted;
    const number = Number(version ?? 0);
    if (!isRight) throw new Refusal(401, 'UNAUTHORIZED', 'Invalid credentials.');
    if (!this.versions.includes(version ?? '') || number >= 33 !== path.startsWith('/cloudapi'))
      throw new Refusal(406, 'NOT_ACCEPTABLE', `Version ${version ?? ''} has its sessions elsewhere.`);
    const token = randomBytes(24).toString('base64url');
    this.#tokens.add(token);
    const bearer = { 'x-vmware-vcloud-access-token': token, 'x-vmware-vcloud-token-type': 'Bearer' };
    if (number >= 33) {
      return { status: 200, text: '{}', headers: { ...bearer, 'content-type': 'application/json' } };
    }
    const old = { 'x-vcloud-authorization': token, 'set-cookie': `vcloud-token=${token}; Secure; Path=/` };
    const headers = number >= 30 ? { ...old, ...bearer } : old;
    return { status: 200, text: documents.session(this.user), type: 'vcloud.session', headers };
  }

  #authenticate({ headers }: IncomingMessage): void {
    const bearer = /^bearer (.+)$/i.exec(headers.authorization ?? '')?.[1];
    const token = bearer ?? headers['x-vcloud-authorization'];
    if (typeof token === 'string' && this.#tokens.has(token)) return;
    throw new Refusal(401, 'UNAUTHORIZED', 'The session is over.');
  }

  #allRoutes(): readonly Route[] {
    const { state } = this;
    const document = (type: string, text: string, status = 200): Reply => ({ status, text, type });
    const started = ({ documents }: Exchange, task: Task): Reply =>
      document('vcloud.task', documents.task(task), 202);
    const vm = ({ ids: [first = ''] }: Exchange): Vm => state.of('vm', first);
    const idIn = (href: string | undefined): string => new RegExp(`${id}/?$`).exec(href ?? '')?.[1] ?? '';
    const named = (xml: XmlNode): string => xml.attribute('name') ?? '';
    const diskOf = ({ xml }: Exchange): Disk => state.of('disk', idIn(xml().at('Disk')?.attribute('href')));
    const mediaIn = ({ xml }: Exchange): Media =>
      state.of('media', idIn(xml().at('Media')?.attribute('href')));
    const drive = ['vcloud.mediaInsertOrEjectParams', 'MediaInsertOrEjectParams'] as const;
    const disks = ['vcloud.diskAttachOrDetachParams', 'DiskAttachOrDetachParams'] as const;
    const metadataOwner = ({ ids }: Exchange): Vm | Disk => {
      const [kind = '', owner = ''] = ids;
      return kind === 'disk/' ? state.of('disk', owner) : state.of('vm', owner);
    };
    const owned = '/api/(vApp/vm-|disk/)ID/metadata';
    const vmPath = '/api/vApp/vm-ID';
    const vAppPath = '/api/vApp/vapp-ID';
    const stored =
      (kind: 'vAppTemplate' | 'media' | 'disk') =>
      (exchange: Exchange): Reply =>
        started(exchange, state.removeStored(state.of(kind, exchange.ids[0] ?? '')));
    const sizeMbOf = (disk: XmlNode | undefined, version: number): number => {
      const size = Number(disk?.attribute(version >= 33 ? 'sizeMb' : 'size') ?? 0);
      const sizeMb = version >= 33 ? size : size / 2 ** 20;
      if (!(sizeMb > 0)) throw new Refusal(400, 'BAD_REQUEST', 'The disk has no size.');
      return sizeMb;
    };
    const catalogOf = ({ ids: [first = ''] }: Exchange): Catalog => state.of('catalog', first);
    return [
      route('DELETE', '/api/session', () => ({ status: 204 })),
      route('GET', '/api/org', ({ documents }) => document('vcloud.orgList', documents.organizations())),
      route('GET', '/api/org/ID', ({ documents }) => document('vcloud.org', documents.organization())),
      route('GET', '/api/vdc/ID', ({ documents }) => document('vcloud.vdc', documents.vdc())),
      route('GET', '/api/network/ID', ({ documents, ids: [first = ''] }) =>
        document('vcloud.orgVdcNetwork', documents.network(first)),
      ),
      route('GET', '/api/entity/(.+)', ({ documents, ids: [urnText = ''] }) => {
        const [, kind = '', uuid = ''] = new RegExp(`^urn:vcloud:(\\w+):${id}$`).exec(urnText) ?? [];
        return document('vcloud.entity', documents.entity(kind, uuid));
      }),
      route('GET', '/api/task/ID', ({ documents, ids: [first = ''] }) => {
        const task = state.tasks.get(first);
        if (task === undefined)
          throw new Refusal(403, 'ACCESS_TO_RESOURCE_IS_FORBIDDEN', 'No access to the task.');
        state.look(task);
        return document('vcloud.task', documents.task(task));
      }),
      route('POST', '/api/task/ID/action/cancel', ({ ids: [first = ''] }) => {
        const task = state.tasks.get(first);
        if (task !== undefined) state.cancel(task);
        return { status: 204 };
      }),

      route(
        'POST',
        '/api/admin/org/ID/catalogs',
        ({ documents, xml }) => {
          const name = named(xml());
          if (state.catalogs.some((catalog) => catalog.name === name))
            throw new Refusal(400, 'DUPLICATE_NAME', `The catalog ${name} exists already.`);
          const catalog = state.add<Catalog>({
            kind: 'catalog',
            id: randomUUID(),
            name,
            tasks: [],
            items: [],
          });
          state.start(catalog, 'catalogCreateCatalog', () => undefined);
          return document('admin.catalog', documents.catalog(catalog, 'AdminCatalog'), 201);
        },
        ['admin.catalog', 'AdminCatalog'],
      ),
      route('GET', '/api/catalog/ID', (exchange) =>
        document('vcloud.catalog', exchange.documents.catalog(catalogOf(exchange))),
      ),
      route(
        'POST',
        '/api/catalog/ID/action/upload',
        (exchange) => {
          const item = state.upload(catalogOf(exchange), named(exchange.xml()));
          return document('vcloud.catalogItem', exchange.documents.item(item), 201);
        },
        ['vcloud.uploadVAppTemplateParams', 'UploadVAppTemplateParams'],
      ),
      route(
        'POST',
        '/api/catalog/ID/catalogItems',
        (exchange) => {
          const media = state.of('media', idIn(exchange.xml().at('Entity')?.attribute('href')));
          const item = state.addItem(catalogOf(exchange), named(exchange.xml()), media);
          return document('vcloud.catalogItem', exchange.documents.item(item), 201);
        },
        ['vcloud.catalogItem', 'CatalogItem'],
      ),
      route('GET', '/api/catalogItem/ID', ({ documents, ids: [first = ''] }) =>
        document('vcloud.catalogItem', documents.item(state.of('catalogItem', first))),
      ),
      route('DELETE', '/api/catalogItem/ID', ({ ids: [first = ''] }) => {
        state.removeItem(state.of('catalogItem', first));
        return { status: 204 };
      }),
      route('GET', '/api/vAppTemplate/vappTemplate-ID', ({ documents, ids: [first = ''] }) =>
        document('vcloud.vAppTemplate', documents.template(state.of('vAppTemplate', first))),
      ),
      route('DELETE', '/api/vAppTemplate/vappTemplate-ID', stored('vAppTemplate')),
      route('PUT', '/transfer/ID/[\\w.]+', ({ ids: [first = ''], body, sizeBytes }) => {
        const { owner, file } = state.fileOf(first);
        state.received(owner, file, body, sizeBytes);
        return { status: 200 };
      }),

      route(
        'POST',
        '/api/vdc/ID/action/instantiateVAppTemplate',
        ({ documents, xml }) => {
          const source = idIn(xml().at('Source')?.attribute('href'));
          const template = state.of('vAppTemplate', source);
          const vApp = state.instantiate(template, named(xml()), xml().textAt('Description') ?? '');
          return document('vcloud.vApp', documents.vApp(vApp), 201);
        },
        ['vcloud.instantiateVAppTemplateParams', 'InstantiateVAppTemplateParams'],
      ),
      route('GET', vAppPath, ({ documents, ids: [first = ''] }) =>
        document('vcloud.vApp', documents.vApp(state.of('vApp', first))),
      ),
      route('DELETE', vAppPath, (exchange) =>
        started(exchange, state.removeVms(state.of('vApp', exchange.ids[0] ?? ''))),
      ),
      route(
        'PUT',
        `${vAppPath}/networkConfigSection`,
        (exchange) =>
          started(
            exchange,
            state.setNetworks(state.of('vApp', exchange.ids[0] ?? ''), exchange.xml().all('NetworkConfig')),
          ),
        ['vcloud.networkConfigSection', 'NetworkConfigSection'],
      ),
      route(
        'POST',
        `${vAppPath}/action/recomposeVApp`,
        (exchange) => {
          const source = exchange.xml().at('SourcedItem', 'Source')?.attribute('href');
          const moved = source === undefined ? undefined : state.of('vm', idIn(source));
          const vApp = state.of('vApp', exchange.ids[0] ?? '');
          return started(exchange, state.recompose(vApp, exchange.xml().attribute('name'), moved));
        },
        ['vcloud.recomposeVAppParams', 'RecomposeVAppParams'],
      ),
      route(
        'POST',
        `${vAppPath}/action/undeploy`,
        (exchange) => started(exchange, state.undeploy(state.of('vApp', exchange.ids[0] ?? ''))),
        ['vcloud.undeployVAppParams', 'UndeployVAppParams'],
      ),
      route('POST', `${vAppPath}/action/discardSuspendedState`, (exchange) => {
        const vApp = state.of('vApp', exchange.ids[0] ?? '');
        const [first] = vApp.vms;
        if (first === undefined) throw new Refusal(400, 'BAD_REQUEST', 'The vApp is empty.');
        return started(exchange, state.discard(first));
      }),

      route('GET', vmPath, (exchange) => document('vcloud.vm', exchange.documents.vm(vm(exchange)))),
      route('DELETE', vmPath, (exchange) => started(exchange, state.removeVms(vm(exchange)))),
      route(
        'POST',
        `${vmPath}(?:/action)?/reconfigureVm`,
        (exchange) => started(exchange, state.reconfigure(vm(exchange), exchange.xml())),
        ['vcloud.vm', 'Vm'],
      ),
      route('POST', `${vmPath}/power/action/powerOn`, (exchange) =>
        started(exchange, state.powerOn(vm(exchange))),
      ),
      route('POST', `${vmPath}/power/action/powerOff`, (exchange) =>
        started(exchange, state.powerOff(vm(exchange))),
      ),
      route('POST', `${vmPath}/power/action/reboot`, (exchange) =>
        started(exchange, state.reboot(vm(exchange))),
      ),
      route('POST', `${vmPath}/action/discardSuspendedState`, (exchange) =>
        started(exchange, state.discard(vm(exchange))),
      ),
      route(
        'POST',
        `${vmPath}/action/undeploy`,
        (exchange) => started(exchange, state.undeploy(vm(exchange))),
        ['vcloud.undeployVAppParams', 'UndeployVAppParams'],
      ),
      route(
        'POST',
        `${vmPath}/disk/action/attach`,
        (exchange) =>
          started(
            exchange,
            state.attach(vm(exchange), diskOf(exchange), exchange.xml().numberAt('UnitNumber')),
          ),
        disks,
      ),
      route(
        'POST',
        `${vmPath}/disk/action/detach`,
        (exchange) => started(exchange, state.detach(vm(exchange), diskOf(exchange))),
        disks,
      ),
      route(
        'POST',
        `${vmPath}/media/action/insertMedia`,
        (exchange) => started(exchange, state.insert(vm(exchange), mediaIn(exchange))),
        drive,
      ),
      route(
        'POST',
        `${vmPath}/media/action/ejectMedia`,
        (exchange) => started(exchange, state.eject(vm(exchange), mediaIn(exchange))),
        drive,
      ),
      route('GET', owned, (exchange) =>
        document('vcloud.metadata', exchange.documents.metadata(metadataOwner(exchange))),
      ),
      route(
        'POST',
        owned,
        (exchange) => {
          const owner = metadataOwner(exchange);
          const entries = exchange.xml().all('MetadataEntry');
          return started(
            exchange,
            state.start(owner, 'metadataUpdate', () => {
              for (const entry of entries)
                owner.metadata.set(entry.textAt('Key') ?? '', entry.textAt('TypedValue', 'Value') ?? '');
            }),
          );
        },
        ['vcloud.metadata', 'Metadata'],
      ),
      route('GET', `${owned}/(.+)`, (exchange) => {
        const value = metadataOwner(exchange).metadata.get(exchange.ids[2] ?? '');
        if (value === undefined)
          throw new Refusal(403, 'ACCESS_TO_RESOURCE_IS_FORBIDDEN', 'No such metadata.');
        return document('vcloud.metadata.value', exchange.documents.metadataValue(value));
      }),
      route(
        'PUT',
        `${owned}/(.+)`,
        (exchange) => {
          const owner = metadataOwner(exchange);
          const value = exchange.xml().textAt('TypedValue', 'Value') ?? '';
          const key = exchange.ids[2] ?? '';
          return started(
            exchange,
            state.start(owner, 'metadataUpdate', () => owner.metadata.set(key, value)),
          );
        },
        ['vcloud.metadata.value', 'MetadataValue'],
      ),

      route(
        'POST',
        '/api/vdc/ID/media',
        ({ documents, xml }) => {
          const media = state.createMedia(named(xml()), Number(xml().attribute('size')));
          return document('vcloud.media', documents.media(media), 201);
        },
        ['vcloud.media', 'Media'],
      ),
      route('GET', '/api/media/ID', ({ documents, ids: [first = ''] }) =>
        document('vcloud.media', documents.media(state.of('media', first))),
      ),
      route('DELETE', '/api/media/ID', stored('media')),
      route(
        'POST',
        '/api/vdc/ID/disk',
        ({ documents, xml, version }) => {
          const wanted = xml().at('Disk');
          const disk = state.createDisk({
            name: wanted?.attribute('name') ?? '',
            sizeMb: sizeMbOf(wanted, version),
            busType: wanted?.attribute('busType') ?? '6',
            busSubType: wanted?.attribute('busSubType') ?? 'lsilogic',
          });
          return document('vcloud.disk', documents.disk(disk), 201);
        },
        ['vcloud.diskCreateParams', 'DiskCreateParams'],
      ),
      route('GET', '/api/disk/ID', ({ documents, ids: [first = ''] }) =>
        document('vcloud.disk', documents.disk(state.of('disk', first))),
      ),
      route('DELETE', '/api/disk/ID', stored('disk')),
      route(
        'PUT',
        '/api/disk/ID',
        (exchange) => {
          const disk = state.of('disk', exchange.ids[0] ?? '');
          return started(exchange, state.resizeDisk(disk, sizeMbOf(exchange.xml(), exchange.version)));
        },
        ['vcloud.disk', 'Disk'],
      ),
    ];
  }
}
