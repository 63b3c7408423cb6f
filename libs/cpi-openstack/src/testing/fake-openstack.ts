import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { randomUUID } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { isJsonObject } from '@microbosh/errors';
import type { Json, JsonObject } from '@microbosh/errors';
import * as fields from './fake-fields.ts';
import { exchangeOf } from './recording.ts';
import type { Exchange, RecordedService } from './recording.ts';

/** One thing in the cloud. `next` takes the place of `status` once it has been looked at. */
interface Thing {
  readonly id: string;
  status: string;
  next?: string;
  readonly body: Record<string, Json>;
}

/** An answer that is not a success, in the shape of the service that gives it. */
class Refusal extends Error {
  readonly status: number;
  readonly body: JsonObject;

  constructor(status: number, body: JsonObject) {
    super(JSON.stringify(body));
    this.status = status;
    this.body = body;
  }
}

const nova = (status: number, key: string, message: string) =>
  new Refusal(status, { [key]: { code: status, message } });
const neutron = (status: number, type: string, message: string) =>
  new Refusal(status, { NeutronError: { type, message, detail: '' } });
const cinder = nova;

interface Call {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: JsonObject;
  /** Of an upload. */
  readonly sizeBytes: number;
}

type Handler = (call: Call, ...ids: string[]) => { readonly status?: number; readonly body?: Json };

export const fakeCredentials = { username: 'u', api_key: 'secret-key', project: 'p', domain: 'd' } as const;

/**
 * Keystone v3, Nova, Neutron, Glance and Cinder with a memory, as strict as the real ones where the CPI could rely on it:
 * addresses serve one port, volumes in use are not deleted, ports that a client made outlive their server, images
 * take their data once. Runs the contract suite like the real services do (see e2e/labs/openstack).
 */
export class FakeOpenstack {
  readonly images = new Map<string, Thing>();
  readonly servers = new Map<string, Thing>();
  readonly volumes = new Map<string, Thing>();
  readonly snapshots = new Map<string, Thing>();
  readonly ports = new Map<string, Thing>();
  readonly floatingIps = new Map<string, Thing>();
  readonly attachments = new Map<string, { readonly server: string; readonly device: string }>();
  /** Available, but not yet forgotten by the server that has gone: cannot be deleted once. */
  readonly #releasing = new Set<string>();
  readonly tokens = new Set<string>();
  readonly flavors: readonly JsonObject[] = [
    flavor('1', 'm1.small', { vcpus: 1, ram: 1024, disk: 5 }),
    flavor('2', 'm1.medium', { vcpus: 2, ram: 2048, disk: 10, 'OS-FLV-EXT-DATA:ephemeral': 4 }),
    flavor('3', 'm1.diskless', { vcpus: 1, ram: 1024, disk: 0 }),
  ];
  readonly networkId = randomUUID();
  readonly secondNetworkId = randomUUID();
  readonly securityGroups: readonly JsonObject[] = [
    { ...fields.securityGroupFields, id: randomUUID(), name: 'default' },
    { ...fields.securityGroupFields, id: randomUUID(), name: 'bosh' },
  ];
  readonly serverGroupId = randomUUID();
  readonly limits: Record<string, number> = {
    ...fields.computeLimits,
    maxTotalInstances: 10,
    maxTotalCores: 20,
    maxTotalRAMSize: 51_200,
    totalInstancesUsed: 0,
    totalCoresUsed: 0,
    totalRAMUsed: 0,
  };
  readonly volumeLimits: Record<string, number> = {
    ...fields.volumeLimits,
    maxTotalVolumes: 10,
    maxTotalVolumeGigabytes: 1000,
    totalVolumesUsed: 0,
    totalGigabytesUsed: 0,
  };
  /** Names of availability zones that take servers. */
  zones: readonly string[] = ['nova', 'west'];
  /** Zones whose servers end in state ERROR. */
  fullZones: readonly string[] = [];
  onExchange: ((exchange: Exchange) => void) | undefined;
  readonly #server: Server;
  #macs = 0;

  private constructor() {
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch(() => response.destroy());
    });
  }

  static async start(): Promise<FakeOpenstack> {
    const fake = new FakeOpenstack();
    await new Promise<void>((resolve) => fake.#server.listen(0, '127.0.0.1', resolve));
    fake.allocateFloatingIp('203.0.113.10');
    return fake;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get authUrl(): string {
    return `${this.origin}/identity/v3`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  allocateFloatingIp(address: string): string {
    const id = randomUUID();
    this.floatingIps.set(id, {
      id,
      status: 'DOWN',
      body: { floating_ip_address: address, port_id: null, floating_network_id: 'external' },
    });
    return id;
  }

  /** A copy of everything that is there, to return to. */
  copy(): () => void {
    const maps: readonly Map<string, Thing>[] = this.#things;
    const kept = structuredClone(maps);
    const attachments = structuredClone(this.attachments);
    return () => {
      for (const [index, map] of maps.entries()) refill(map, structuredClone(kept[index] ?? new Map()));
      refill(this.attachments, attachments);
      this.#releasing.clear();
    };
  }

  get #things(): readonly Map<string, Thing>[] {
    return [this.images, this.servers, this.volumes, this.snapshots, this.ports, this.floatingIps];
  }

  /** Everything that a CPI can leave behind: objects by kind and name, and floating IPs that are in use. */
  leftovers(): string[] {
    const named = (kind: string, things: Map<string, Thing>) =>
      [...things.values()].map((thing) => `${kind} ${textOf(thing.body['name'])} (${thing.status})`);
    return [
      ...named('image', this.images),
      ...named('server', this.servers),
      ...named('volume', this.volumes),
      ...named('snapshot', this.snapshots),
      ...named('port', this.ports),
      ...[...this.floatingIps.values()]
        .filter((floating) => floating.body['port_id'] !== null)
        .map((floating) => `floating IP ${textOf(floating.body['floating_ip_address'])} in use`),
    ];
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.origin);
    const upload = request.headers['content-type'] === 'application/octet-stream';
    let sizeBytes = 0;
    let raw = '';
    if (upload) for await (const chunk of request as AsyncIterable<Buffer>) sizeBytes += chunk.length;
    else raw = await text(request);
    const parsed: unknown = raw === '' ? {} : JSON.parse(raw);
    const call: Call = {
      method: request.method ?? 'GET',
      path: url.pathname,
      query: url.searchParams,
      body: isJsonObject(parsed) ? parsed : {},
      sizeBytes,
    };
    const send = (status: number, body?: Json, headers: Record<string, string> = {}) => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers });
      response.end(body === undefined ? '' : JSON.stringify(body));
      const [, service = '', path = ''] = /^\/([a-z]+)(.*)$/.exec(call.path) ?? [];
      this.onExchange?.(
        exchangeOf(service as RecordedService, {
          method: call.method,
          path: `${path}${url.search}`,
          status,
          requestBody: raw,
          answerBody: JSON.stringify(body ?? null),
        }),
      );
    };
    if (call.path === '/identity/v3/auth/tokens') {
      this.#login(call, send);
      return;
    }
    if (!this.tokens.has(String(request.headers['x-auth-token']))) {
      send(401, {
        error: {
          code: 401,
          title: 'Unauthorized',
          message: 'The request you have made requires authentication.',
        },
      });
      return;
    }
    try {
      const { status = 200, body } = this.#dispatch(call);
      send(status, body);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      send(error.status, error.body);
    }
  }

  #login(call: Call, send: (status: number, body?: Json, headers?: Record<string, string>) => void): void {
    const identity = objectAt(objectAt(call.body, 'auth'), 'identity');
    const user = objectAt(objectAt(identity, 'password'), 'user');
    const credential = objectAt(identity, 'application_credential');
    const known =
      (user['name'] === fakeCredentials.username && user['password'] === fakeCredentials.api_key) ||
      (credential['id'] === 'credential' && credential['secret'] === 'credential-secret');
    if (!known) {
      send(401, {
        error: {
          code: 401,
          title: 'Unauthorized',
          message: 'The request you have made requires authentication.',
        },
      });
      return;
    }
    const token = randomUUID();
    this.tokens.add(token);
    const endpoint = (type: string, path: string) => ({
      id: type,
      type,
      name: type,
      endpoints: [
        {
          interface: 'public',
          url: `${this.origin}${path}`,
          region: 'RegionOne',
          region_id: 'RegionOne',
          id: type,
        },
      ],
    });
    send(
      201,
      {
        token: {
          ...fields.tokenFields,
          expires_at: new Date(Date.now() + 3_600_000).toISOString(),
          project: { id: 'project', name: 'p', domain: { id: 'd', name: 'd' } },
          catalog: [
            endpoint('compute', '/compute/v2.1'),
            endpoint('network', '/network'),
            endpoint('image', '/image'),
            endpoint('volumev3', '/volume/v3/project'),
          ],
        },
      },
      { 'x-subject-token': token },
    );
  }

  #dispatch(call: Call): { readonly status?: number; readonly body?: Json } {
    for (const [method, pattern, handler] of this.#routes) {
      const match = method === call.method ? pattern.exec(call.path) : null;
      if (match !== null) return handler(call, ...match.slice(1));
    }
    throw new Refusal(404, { message: `The fake has no ${call.method} ${call.path}` });
  }

  readonly #routes: readonly (readonly [string, RegExp, Handler])[] = [
    // Glance
    ['POST', /^\/image\/v2\/images$/, (call) => this.#createImage(call)],
    ['GET', /^\/image\/v2\/images$/, (call) => this.#listImages(call)],
    ['GET', /^\/image\/v2\/images\/([^/]+)$/, (_, id) => ({ body: this.#imageView(this.#image(id)) })],
    ['DELETE', /^\/image\/v2\/images\/([^/]+)$/, (_, id) => this.#deleteImage(id)],
    ['PUT', /^\/image\/v2\/images\/([^/]+)\/file$/, (call, id) => this.#upload(call, id)],
    // Nova
    ['GET', /^\/compute\/v2\.1\/flavors\/detail$/, () => ({ body: { flavors: this.flavors } })],
    ['GET', /^\/compute\/v2\.1\/flavors\/([^/]+)$/, (_, id) => ({ body: { flavor: this.#flavor(id) } })],
    [
      'GET',
      /^\/compute\/v2\.1\/os-keypairs$/,
      () => ({ body: { keypairs: [{ keypair: { name: 'lab', fingerprint: 'f', public_key: 'k' } }] } }),
    ],
    [
      'GET',
      /^\/compute\/v2\.1\/os-availability-zone$/,
      () => ({
        body: {
          availabilityZoneInfo: this.zones.map((zoneName) => ({
            zoneName,
            zoneState: { available: true },
            hosts: null,
          })),
        },
      }),
    ],
    ['GET', /^\/compute\/v2\.1\/limits$/, () => ({ body: { limits: { rate: [], absolute: this.limits } } })],
    [
      'GET',
      /^\/compute\/v2\.1\/os-server-groups$/,
      () => ({ body: { server_groups: [{ id: this.serverGroupId, name: 'group', policies: [] }] } }),
    ],
    ['POST', /^\/compute\/v2\.1\/servers$/, (call) => this.#createServer(call)],
    ['GET', /^\/compute\/v2\.1\/servers\/detail$/, (call) => this.#listServers(call)],
    ['GET', /^\/compute\/v2\.1\/servers\/([^/]+)$/, (_, id) => this.#showServer(id)],
    ['PUT', /^\/compute\/v2\.1\/servers\/([^/]+)$/, (call, id) => this.#renameServer(call, id)],
    ['DELETE', /^\/compute\/v2\.1\/servers\/([^/]+)$/, (_, id) => this.#deleteServer(id)],
    ['POST', /^\/compute\/v2\.1\/servers\/([^/]+)\/action$/, (call, id) => this.#serverAction(call, id)],
    ['POST', /^\/compute\/v2\.1\/servers\/([^/]+)\/metadata$/, (call, id) => this.#serverMetadata(call, id)],
    [
      'GET',
      /^\/compute\/v2\.1\/servers\/([^/]+)\/os-volume_attachments$/,
      (_, id) => this.#listAttachments(id),
    ],
    [
      'POST',
      /^\/compute\/v2\.1\/servers\/([^/]+)\/os-volume_attachments$/,
      (call, id) => this.#attach(call, id),
    ],
    [
      'DELETE',
      /^\/compute\/v2\.1\/servers\/([^/]+)\/os-volume_attachments\/([^/]+)$/,
      (_, id, volume) => this.#detach(id, volume),
    ],
    // Neutron
    ['GET', /^\/network\/v2\.0\/networks\/([^/]+)$/, (_, id) => ({ body: { network: this.#network(id) } })],
    ['GET', /^\/network\/v2\.0\/subnets$/, (call) => this.#listSubnets(call)],
    [
      'GET',
      /^\/network\/v2\.0\/security-groups$/,
      () => ({ body: { security_groups: this.securityGroups } }),
    ],
    ['GET', /^\/network\/v2\.0\/ports$/, (call) => this.#listPorts(call)],
    ['POST', /^\/network\/v2\.0\/ports$/, (call) => this.#createPort(call)],
    ['PUT', /^\/network\/v2\.0\/ports\/([^/]+)$/, (call, id) => this.#changePort(call, id)],
    ['DELETE', /^\/network\/v2\.0\/ports\/([^/]+)$/, (_, id) => this.#deletePort(id)],
    ['GET', /^\/network\/v2\.0\/floatingips$/, (call) => this.#listFloatingIps(call)],
    ['PUT', /^\/network\/v2\.0\/floatingips\/([^/]+)$/, (call, id) => this.#moveFloatingIp(call, id)],
    // Cinder
    ['POST', /^\/volume\/v3\/project\/volumes$/, (call) => this.#createVolume(call)],
    ['GET', /^\/volume\/v3\/project\/volumes\/detail$/, (call) => this.#listVolumes(call)],
    ['GET', /^\/volume\/v3\/project\/volumes\/([^/]+)$/, (_, id) => this.#showVolume(id)],
    ['DELETE', /^\/volume\/v3\/project\/volumes\/([^/]+)$/, (_, id) => this.#deleteVolume(id)],
    ['POST', /^\/volume\/v3\/project\/volumes\/([^/]+)\/action$/, (call, id) => this.#extend(call, id)],
    [
      'POST',
      /^\/volume\/v3\/project\/volumes\/([^/]+)\/metadata$/,
      (call, id) => this.#metadataOf(this.#volume(id), call),
    ],
    [
      'GET',
      /^\/volume\/v3\/project\/limits$/,
      () => ({ body: { limits: { rate: [], absolute: this.volumeLimits } } }),
    ],
    ['POST', /^\/volume\/v3\/project\/snapshots$/, (call) => this.#createSnapshot(call)],
    ['GET', /^\/volume\/v3\/project\/snapshots\/detail$/, (call) => this.#listSnapshots(call)],
    ['GET', /^\/volume\/v3\/project\/snapshots\/([^/]+)$/, (_, id) => this.#showSnapshot(id)],
    ['DELETE', /^\/volume\/v3\/project\/snapshots\/([^/]+)$/, (_, id) => this.#deleteSnapshot(id)],
    [
      'POST',
      /^\/volume\/v3\/project\/snapshots\/([^/]+)\/metadata$/,
      (call, id) => this.#metadataOf(this.#snapshot(id), call),
    ],
  ];

  // Glance

  #image(id = ''): Thing {
    const image = this.images.get(id);
    if (image === undefined) throw new Refusal(404, { message: `No image found with ID ${id}` });
    return image;
  }

  #imageView(image: Thing): JsonObject {
    const view = {
      ...fields.imageFields,
      ...image.body,
      id: image.id,
      status: image.status,
      tags: [],
      min_disk: 0,
      min_ram: 0,
    };
    settle(image);
    return view;
  }

  #createImage({ body }: Call) {
    for (const [key, value] of Object.entries(body)) {
      if (typeof value !== 'string') throw new Refusal(400, { message: `'${key}' is not of type 'string'` });
    }
    const image: Thing = { id: randomUUID(), status: 'queued', body: { ...body } };
    this.images.set(image.id, image);
    return { status: 201, body: this.#imageView(image) };
  }

  #listImages({ query }: Call) {
    const found = [...this.images.values()].filter((image) =>
      [...query].every(([key, value]) => image.body[key] === value),
    );
    return { body: { ...fields.imageListFields, images: found.map((image) => this.#imageView(image)) } };
  }

  #upload({ sizeBytes }: Call, id = '') {
    const image = this.#image(id);
    if (image.status !== 'queued') {
      throw new Refusal(409, {
        message: `Image status transition from ${image.status} to saving is not allowed`,
      });
    }
    image.body['size'] = sizeBytes;
    image.status = 'saving';
    image.next = 'active';
    return { status: 204 };
  }

  #deleteImage(id = '') {
    this.#image(id);
    this.images.delete(id);
    return { status: 204 };
  }

  // Nova

  #flavor(id = ''): JsonObject {
    const found = this.flavors.find((candidate) => candidate['id'] === id);
    if (found === undefined) throw nova(404, 'itemNotFound', `Flavor ${id} could not be found.`);
    return found;
  }

  #serverOf(id = ''): Thing {
    const server = this.servers.get(id);
    if (server === undefined) throw nova(404, 'itemNotFound', `Instance ${id} could not be found.`);
    return server;
  }

  #serverView(server: Thing): JsonObject {
    const ports = [...this.ports.values()].filter((port) => port.body['device_id'] === server.id);
    return {
      ...fields.serverFields,
      ...without(server.body, 'user_data', 'scheduler_hints'),
      id: server.id,
      status: server.status,
      addresses: {
        private: ports.flatMap((port) =>
          listOf(port.body['fixed_ips']).map((fixed) => ({
            addr: objectOf(fixed)['ip_address'] ?? '',
            version: 4,
          })),
        ),
      },
      ...(server.status === 'ERROR'
        ? { fault: { code: 500, message: 'No valid host was found.', created: '2026-01-01T00:00:00Z' } }
        : {}),
    };
  }

  #showServer(id: string | undefined) {
    const server = this.#serverOf(id);
    const view = this.#serverView(server);
    settle(server);
    return { body: { server: view } };
  }

  #listServers({ query }: Call) {
    const name = new RegExp(query.get('name') ?? '');
    const found = [...this.servers.values()].filter((server) => name.test(textOf(server.body['name'])));
    return { body: { servers: found.map((server) => this.#serverView(server)) } };
  }

  #createServer({ body }: Call) {
    const server = objectAt(body, 'server');
    const bad = (message: string) => nova(400, 'badRequest', message);
    const flavorId = textOf(server['flavorRef']);
    if (!this.flavors.some((known) => known['id'] === flavorId)) throw bad('Flavor could not be found.');
    if (server['key_name'] !== 'lab') throw bad('Invalid key_name provided.');
    if (Buffer.from(textOf(server['user_data']), 'base64').length > 65_535) throw bad('User data too large.');
    for (const group of listOf(server['security_groups'])) {
      const { name } = objectOf(group);
      if (!this.securityGroups.some((known) => known['name'] === name))
        throw bad(`Unable to find security_group with name or id '${textOf(name)}'`);
    }
    const zone = server['availability_zone'] ?? 'nova';
    if (!this.zones.includes(textOf(zone))) throw bad('The requested availability zone is not available');
    const group = objectAt(body, 'os:scheduler_hints')['group'];
    if (group !== undefined && group !== this.serverGroupId)
      throw bad(`Instance group ${textOf(group)} could not be found.`);
    const mapping = listOf(server['block_device_mapping_v2']).map(objectOf);
    const imageId = textOf(mapping[0]?.['uuid'] ?? server['imageRef']);
    const image = this.images.get(imageId);
    if (image === undefined) throw bad(`Image ${imageId} could not be found.`);
    if (image.status !== 'active') throw bad(`Image ${imageId} is not active.`);
    if (mapping.length === 0 && Number(this.#flavor(flavorId)['disk']) === 0) {
      throw nova(403, 'forbidden', 'Only volume-backed servers are allowed for flavors with zero disk.');
    }
    const wanted = listOf(server['networks']).map(objectOf);
    for (const { port, uuid } of wanted) {
      if (port !== undefined) {
        const found = this.ports.get(textOf(port));
        if (found === undefined) throw bad(`Port ${textOf(port)} could not be found.`);
        if (found.body['device_id'] !== '')
          throw nova(409, 'conflictingRequest', `Port ${textOf(port)} is still in use.`);
      } else if (!this.#networkIds.includes(textOf(uuid))) {
        throw bad(`Network ${textOf(uuid)} could not be found.`);
      }
    }
    if (this.servers.size >= (this.limits['maxTotalInstances'] ?? 0)) {
      throw nova(403, 'forbidden', 'Quota exceeded for instances: Requested 1, but already used all');
    }
    const id = randomUUID();
    const full = this.fullZones.includes(textOf(zone));
    this.servers.set(id, {
      id,
      status: 'BUILD',
      next: full ? 'ERROR' : 'ACTIVE',
      body: {
        name: textOf(server['name']),
        metadata: server['metadata'] ?? {},
        flavor: { id: flavorId, links: [] },
        image: mapping.length > 0 ? '' : { id: imageId, links: [] },
        'OS-EXT-AZ:availability_zone': zone,
        config_drive: server['config_drive'] === true ? 'True' : '',
        key_name: 'lab',
        user_data: server['user_data'] ?? null,
        scheduler_hints: body['os:scheduler_hints'] ?? {},
      },
    });
    for (const { port, uuid } of wanted) {
      if (port === undefined)
        this.#makePort({ network_id: textOf(uuid), name: '' }, { device_id: id, made_by: 'nova' });
      else this.#bind(this.ports.get(textOf(port)), id);
    }
    if (mapping[0] !== undefined) {
      const volume = this.#makeVolume({ name: '', size: Number(mapping[0]['volume_size']) });
      volume.status = 'in-use';
      delete volume.next;
      volume.body['made_by'] = 'nova';
      this.attachments.set(volume.id, { server: id, device: '/dev/vda' });
    }
    return {
      status: 202,
      body: { server: { ...fields.newServerFields, id, adminPass: 'x', security_groups: [] } },
    };
  }

  #bind(port: Thing | undefined, device: string): void {
    if (port === undefined) return;
    port.body['device_id'] = device;
    port.body['device_owner'] = device === '' ? '' : 'compute:nova';
    port.status = device === '' ? 'DOWN' : 'ACTIVE';
  }

  #renameServer({ body }: Call, id: string | undefined) {
    const server = this.#serverOf(id);
    server.body['name'] = objectAt(body, 'server')['name'] ?? '';
    return { body: { server: this.#serverView(server) } };
  }

  #deleteServer(id = '') {
    this.#serverOf(id);
    this.servers.delete(id);
    for (const port of [...this.ports.values()].filter((candidate) => candidate.body['device_id'] === id)) {
      if (port.body['made_by'] === 'nova') this.#removePort(port);
      else this.#bind(port, '');
    }
    for (const [volumeId, { server }] of [...this.attachments]) {
      if (server !== id) continue;
      this.attachments.delete(volumeId);
      const volume = this.volumes.get(volumeId);
      if (volume === undefined) continue;
      if (volume.body['made_by'] === 'nova') this.volumes.delete(volumeId);
      else {
        volume.status = 'available';
        delete volume.next;
        this.#releasing.add(volumeId);
      }
    }
    return { status: 204 };
  }

  #serverAction({ body }: Call, id: string | undefined) {
    const server = this.#serverOf(id);
    if ('reboot' in body) server.status = 'REBOOT';
    server.next = 'ACTIVE';
    return { status: 202 };
  }

  #serverMetadata({ body }: Call, id: string | undefined) {
    return this.#metadataOf(this.#serverOf(id), { body });
  }

  #metadataOf(thing: Thing, { body }: Pick<Call, 'body'>) {
    for (const [key, value] of Object.entries(objectAt(body, 'metadata'))) {
      if (typeof value !== 'string' || value.length > 255 || key.length > 255)
        throw nova(400, 'badRequest', `Invalid input for field/attribute ${key}`);
    }
    const metadata = { ...objectOf(thing.body['metadata'] ?? {}), ...objectAt(body, 'metadata') };
    thing.body['metadata'] = metadata;
    return { body: { metadata } };
  }

  #listAttachments(id = '') {
    this.#serverOf(id);
    const found = [...this.attachments].filter(([, { server }]) => server === id);
    return {
      body: {
        volumeAttachments: found.map(([volumeId, { device }]) => ({
          id: volumeId,
          volumeId,
          serverId: id,
          device,
        })),
      },
    };
  }

  /** The hypervisor names the device as it likes. */
  #attach({ body }: Call, id = '') {
    this.#serverOf(id);
    const volumeId = textOf(objectAt(body, 'volumeAttachment')['volumeId']);
    const volume = this.volumes.get(volumeId);
    if (volume === undefined) throw nova(404, 'itemNotFound', `Volume ${volumeId} could not be found.`);
    if (volume.status !== 'available' || this.attachments.has(volumeId)) {
      throw nova(
        400,
        'badRequest',
        `Invalid volume: Volume ${volumeId} status must be available or downloading`,
      );
    }
    const taken = new Set(
      [...this.attachments.values()].filter(({ server }) => server === id).map((a) => a.device),
    );
    const letter = [...'bcdefgh'].find((candidate) => !taken.has(`/dev/vd${candidate}`)) ?? 'z';
    const device = `/dev/vd${letter}`;
    this.attachments.set(volumeId, { server: id, device });
    volume.status = 'attaching';
    volume.next = 'in-use';
    return { body: { volumeAttachment: { id: volumeId, volumeId, serverId: id, device } } };
  }

  #detach(id = '', volumeId = '') {
    this.#serverOf(id);
    if (this.attachments.get(volumeId)?.server !== id) {
      throw nova(404, 'itemNotFound', `Instance ${id} is not attached to volume ${volumeId}`);
    }
    const volume = this.#volume(volumeId);
    if (volume.status !== 'in-use') {
      throw nova(
        400,
        'badRequest',
        "Invalid volume: Unable to detach volume. Volume status must be 'in-use' and attach_status must be 'attached' to detach.",
      );
    }
    volume.status = 'detaching';
    volume.next = 'available';
    return { status: 202 };
  }

  // Neutron

  get #networkIds(): readonly string[] {
    return [this.networkId, this.secondNetworkId];
  }

  get #subnets(): readonly JsonObject[] {
    return [
      { id: 'subnet-1', network_id: this.networkId, cidr: '10.77.0.0/24' },
      { id: 'subnet-2', network_id: this.secondNetworkId, cidr: '10.78.0.0/24' },
    ];
  }

  #network(id = ''): JsonObject {
    if (!this.#networkIds.includes(id))
      throw neutron(404, 'NetworkNotFound', `Network ${id} could not be found.`);
    return { ...fields.networkFields, id, name: 'private', status: 'ACTIVE', subnets: [] };
  }

  #listSubnets({ query }: Call) {
    const network = query.get('network_id');
    return {
      body: {
        subnets: this.#subnets.filter((subnet) => network === null || subnet['network_id'] === network),
      },
    };
  }

  #portView(port: Thing): JsonObject {
    return { ...fields.portFields, ...port.body, id: port.id, status: port.status };
  }

  #floatingIpView(floating: Thing): JsonObject {
    return { ...fields.floatingIpFields, ...floating.body, id: floating.id, status: floating.status };
  }

  #listPorts({ query }: Call) {
    const address = /^ip_address=(.+)$/.exec(query.get('fixed_ips') ?? '')?.[1];
    const found = [...this.ports.values()].filter(
      (port) =>
        ['name', 'device_id', 'network_id', 'description'].every(
          (key) => query.get(key) === null || port.body[key] === query.get(key),
        ) &&
        (address === undefined ||
          listOf(port.body['fixed_ips']).some((fixed) => objectOf(fixed)['ip_address'] === address)),
    );
    return { body: { ports: found.map((port) => this.#portView(port)) } };
  }

  #createPort({ body }: Call) {
    const wanted = objectAt(body, 'port');
    for (const id of listOf(wanted['security_groups'])) {
      if (!this.securityGroups.some((known) => known['id'] === id))
        throw neutron(404, 'SecurityGroupNotFound', `Security group ${textOf(id)} does not exist`);
    }
    const port = this.#makePort(wanted, {});
    return { status: 201, body: { port: this.#portView(port) } };
  }

  #makePort(wanted: JsonObject, extra: JsonObject): Thing {
    const networkId = textOf(wanted['network_id']);
    this.#network(networkId);
    const cidr = textOf(this.#subnets.find((subnet) => subnet['network_id'] === networkId)?.['cidr']);
    const prefix = cidr.replace(/0\/24$/, '');
    const used = (address: string) =>
      [...this.ports.values()].some((port) =>
        listOf(port.body['fixed_ips']).some((fixed) => objectOf(fixed)['ip_address'] === address),
      );
    const [fixed] = listOf(wanted['fixed_ips']).map(objectOf);
    let address = textOf(fixed?.['ip_address']);
    if (address === '') {
      let host = 100;
      while (used(`${prefix}${host}`)) host += 1;
      address = `${prefix}${host}`;
    }
    if (!address.startsWith(prefix)) {
      throw neutron(
        400,
        'InvalidIpForNetwork',
        `IP address ${address} is not a valid IP for any of the subnets`,
      );
    }
    if (used(address)) {
      throw neutron(409, 'IpAddressAlreadyAllocated', `IP address ${address} already allocated in subnet`);
    }
    this.#macs += 1;
    const id = randomUUID();
    const port: Thing = {
      id,
      status: 'DOWN',
      body: {
        name: '',
        description: '',
        device_id: '',
        device_owner: '',
        security_groups: [],
        allowed_address_pairs: [],
        ...wanted,
        fixed_ips: [{ subnet_id: 'subnet', ip_address: address }],
        mac_address: `fa:16:3e:00:00:${this.#macs.toString(16).padStart(2, '0').slice(-2)}`,
        ...extra,
      },
    };
    this.ports.set(id, port);
    return port;
  }

  #changePort({ body }: Call, id = '') {
    const port = this.ports.get(id);
    if (port === undefined) throw neutron(404, 'PortNotFound', `Port ${id} could not be found.`);
    Object.assign(port.body, objectAt(body, 'port'));
    return { body: { port: this.#portView(port) } };
  }

  #deletePort(id = '') {
    const port = this.ports.get(id);
    if (port === undefined) throw neutron(404, 'PortNotFound', `Port ${id} could not be found.`);
    this.#removePort(port);
    return { status: 204 };
  }

  #removePort(port: Thing): void {
    this.ports.delete(port.id);
    for (const floating of this.floatingIps.values()) {
      if (floating.body['port_id'] === port.id) floating.body['port_id'] = null;
    }
  }

  #listFloatingIps({ query }: Call) {
    const address = query.get('floating_ip_address');
    const found = [...this.floatingIps.values()].filter(
      (floating) => address === null || floating.body['floating_ip_address'] === address,
    );
    return { body: { floatingips: found.map((floating) => this.#floatingIpView(floating)) } };
  }

  #moveFloatingIp({ body }: Call, id = '') {
    const floating = this.floatingIps.get(id);
    if (floating === undefined)
      throw neutron(404, 'FloatingIPNotFound', `Floating IP ${id} could not be found`);
    const port = objectAt(body, 'floatingip')['port_id'] ?? null;
    if (port !== null && !this.ports.has(textOf(port)))
      throw neutron(404, 'PortNotFound', `Port ${textOf(port)} could not be found.`);
    floating.body['port_id'] = port;
    return { body: { floatingip: this.#floatingIpView(floating) } };
  }

  // Cinder

  #volume(id = ''): Thing {
    const volume = this.volumes.get(id);
    if (volume === undefined) throw cinder(404, 'itemNotFound', `Volume ${id} could not be found.`);
    return volume;
  }

  #volumeView(volume: Thing, more = fields.volumeFields): JsonObject {
    const attachment = this.attachments.get(volume.id);
    return {
      ...more,
      ...volume.body,
      id: volume.id,
      status: volume.status,
      attachments:
        attachment === undefined
          ? []
          : [
              {
                ...fields.attachmentFields,
                server_id: attachment.server,
                device: attachment.device,
                id: volume.id,
                volume_id: volume.id,
              },
            ],
    };
  }

  #makeVolume(wanted: JsonObject): Thing {
    const volume: Thing = {
      id: randomUUID(),
      status: 'creating',
      next: 'available',
      body: { metadata: {}, availability_zone: 'nova', ...wanted },
    };
    this.volumes.set(volume.id, volume);
    return volume;
  }

  #createVolume({ body }: Call) {
    const wanted = objectAt(body, 'volume');
    const size = wanted['size'];
    if (typeof size !== 'number' || !Number.isInteger(size) || size < 1)
      throw cinder(
        400,
        'badRequest',
        `Invalid input received: Volume size '${textOf(size)}' must be an integer and greater than 0`,
      );
    if (wanted['volume_type'] === 'no-such-type')
      throw cinder(404, 'itemNotFound', 'Volume type with name no-such-type could not be found.');
    if (this.volumes.size >= (this.volumeLimits['maxTotalVolumes'] ?? 0))
      throw cinder(413, 'overLimit', 'VolumeLimitExceeded: Maximum number of volumes allowed exceeded');
    const made = this.#makeVolume(wanted);
    return { status: 202, body: { volume: this.#volumeView(made, fields.newVolumeFields) } };
  }

  #listVolumes({ query }: Call) {
    const name = query.get('name');
    const found = [...this.volumes.values()].filter(
      (volume) => name === null || volume.body['name'] === name,
    );
    return { body: { volumes: found.map((volume) => this.#volumeView(volume)) } };
  }

  #showVolume(id: string | undefined) {
    const volume = this.#volume(id);
    const view = this.#volumeView(volume);
    const wasDetaching = volume.status === 'detaching';
    settle(volume);
    if (wasDetaching) this.attachments.delete(volume.id);
    if (volume.status === 'gone') this.volumes.delete(volume.id);
    return { body: { volume: view } };
  }

  #deleteVolume(id: string | undefined) {
    const volume = this.#volume(id);
    const isHeld = this.attachments.has(volume.id) || this.#releasing.delete(volume.id);
    if (!['available', 'error'].includes(volume.status) || isHeld) {
      throw cinder(
        400,
        'badRequest',
        'Invalid volume: Volume status must be available or error, and not attached',
      );
    }
    if ([...this.snapshots.values()].some((snapshot) => snapshot.body['volume_id'] === volume.id)) {
      throw cinder(400, 'badRequest', 'Invalid volume: Volume still has dependent snapshots');
    }
    volume.status = 'deleting';
    volume.next = 'gone';
    return { status: 202 };
  }

  #extend({ body }: Call, id: string | undefined) {
    const volume = this.#volume(id);
    const size = objectAt(body, 'os-extend')['new_size'];
    if (volume.status !== 'available')
      throw cinder(400, 'badRequest', 'Volume status must be available to extend');
    if (typeof size !== 'number' || size <= Number(volume.body['size']))
      throw cinder(400, 'badRequest', 'New size for extend must be greater than current size.');
    volume.body['size'] = size;
    volume.status = 'extending';
    volume.next = 'available';
    return { status: 202 };
  }

  #snapshot(id = ''): Thing {
    const snapshot = this.snapshots.get(id);
    if (snapshot === undefined) throw cinder(404, 'itemNotFound', `Snapshot ${id} could not be found.`);
    return snapshot;
  }

  #snapshotView(snapshot: Thing, more = fields.snapshotFields): JsonObject {
    return { ...more, ...snapshot.body, id: snapshot.id, status: snapshot.status };
  }

  #createSnapshot({ body }: Call) {
    const wanted = without(objectAt(body, 'snapshot'), 'force');
    this.#volume(textOf(wanted['volume_id']));
    const snapshot: Thing = {
      id: randomUUID(),
      status: 'creating',
      next: 'available',
      body: { ...wanted, metadata: {} },
    };
    this.snapshots.set(snapshot.id, snapshot);
    return { status: 202, body: { snapshot: this.#snapshotView(snapshot, fields.newSnapshotFields) } };
  }

  #listSnapshots({ query }: Call) {
    const name = query.get('name');
    const found = [...this.snapshots.values()].filter((one) => name === null || one.body['name'] === name);
    return { body: { snapshots: found.map((one) => this.#snapshotView(one)) } };
  }

  #showSnapshot(id: string | undefined) {
    const snapshot = this.#snapshot(id);
    const view = this.#snapshotView(snapshot);
    settle(snapshot);
    if (snapshot.status === 'gone') this.snapshots.delete(snapshot.id);
    return { body: { snapshot: view } };
  }

  #deleteSnapshot(id: string | undefined) {
    const snapshot = this.#snapshot(id);
    if (!['available', 'error'].includes(snapshot.status))
      throw cinder(400, 'badRequest', 'Invalid snapshot: Snapshot status must be available or error');
    snapshot.status = 'deleting';
    snapshot.next = 'gone';
    return { status: 202 };
  }
}

function refill<V>(map: Map<string, V>, content: ReadonlyMap<string, V>): void {
  map.clear();
  for (const [key, value] of content) map.set(key, value);
}

function settle(thing: Thing): void {
  if (thing.next === undefined) return;
  thing.status = thing.next;
  delete thing.next;
}

function flavor(id: string, name: string, more: JsonObject): JsonObject {
  return {
    ...fields.flavorFields,
    id,
    name,
    swap: '',
    'OS-FLV-EXT-DATA:ephemeral': 0,
    'OS-FLV-DISABLED:disabled': false,
    ...more,
  };
}

function without(object: JsonObject, ...keys: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key)));
}

function textOf(value: Json | undefined): string {
  return typeof value === 'string' ? value : '';
}

function objectOf(value: Json): JsonObject {
  return isJsonObject(value) ? value : {};
}

function objectAt(object: JsonObject, key: string): JsonObject {
  return objectOf(object[key] ?? null);
}

function listOf(value: Json | undefined): readonly Json[] {
  return Array.isArray(value) ? (value as readonly Json[]) : [];
}
