import { deepStrictEqual, match, notStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Agent, request } from 'undici';
import { start, succeed } from '../../support/commands.ts';
import type { Finished } from '../../support/commands.ts';
import type { LabReport } from '../../support/lab-report.ts';
import type { CloudView, FloatingIp } from './cloud-view.ts';
import type { OpenstackLab } from './contract.ts';
import { createEnvManifest, microManifest } from './manifests.ts';
import type { Certificate } from './manifests.ts';

/** What the journeys deploy; see `parts.ts`. */
export interface DeployedParts {
  readonly stemcell: string;
  readonly release: string;
}

/** Guests are emulated: a boot alone takes one to two minutes, and every request some seconds. */
const deployLimitMs = 35 * 60_000;
const requestLimitMs = 90_000;

/** In what the deployer writes down of its calls. */
const askedForSpec = /"to":"agent","method":"release_apply_spec","durationMs":\d+,"failed":false/;

type ServiceAccess = () => Promise<{ readonly ca: string; readonly password: string }>;

/** The service of the example on the floating IP, seen by its clients. */
class Service {
  readonly #address: string;
  readonly #access: ServiceAccess;

  constructor(address: string, access: ServiceAccess) {
    this.#address = address;
    this.#access = access;
  }

  async #request(method: 'GET' | 'PUT' | 'DELETE', body?: string): Promise<string> {
    const { ca, password } = await this.#access();
    const limits = { headersTimeout: requestLimitMs, bodyTimeout: requestLimitMs };
    const dispatcher = new Agent({ connect: { ca, timeout: requestLimitMs }, ...limits });
    try {
      const answer = await request(`https://${this.#address}:25777/instances/vm-1/settings`, {
        method,
        dispatcher,
        headers: { authorization: `Basic ${Buffer.from(`admin:${password}`).toString('base64')}` },
        ...(body === undefined ? {} : { body }),
      });
      const text = await answer.body.text();
      if (answer.statusCode >= 300) throw new Error(`${method}: ${answer.statusCode} ${text}`);
      return text;
    } finally {
      await dispatcher.close();
    }
  }

  async keep(): Promise<void> {
    await this.#request('PUT', '{"kept":true}');
  }

  async kept(): Promise<void> {
    match(await this.#request('GET'), /kept/);
  }
}

interface State {
  readonly current_vm_cid: string;
  readonly current_stemcell_id: string;
  readonly disks?: readonly { readonly cid: string }[];
  readonly stemcells?: readonly { readonly id: string; readonly cid: string }[];
}

/** One manifest from nothing to the running service, to a new server with the old volume, and away again. */
interface Journey {
  readonly name: string;
  readonly manifest: string;
  readonly privateIp: string;
  readonly service: Service;
  /** Documents in the registry of the deploy while the server is there; without a registry they are its user data. */
  readonly storedSettings: 0 | 1;
  readonly metadata: Readonly<Record<string, string>>;
  /** Image that the operator has made and the second deploy uses: it is not the deployer's to delete. */
  readonly adoptedImage?: string;
  deploy(): Promise<Finished>;
  recreate(): Promise<Finished>;
  delete(): Promise<Finished>;
}

async function play(
  journey: Journey,
  cloud: CloudView,
  floating: FloatingIp,
  report: LabReport,
): Promise<void> {
  const { name, service } = journey;
  const stateFile = journey.manifest.replace(/\.yml$/, '-state.json');
  const state = async () => JSON.parse(await readFile(stateFile, 'utf8')) as State;
  const line = (what: string, body: () => Promise<unknown>) => report.case(name, what, body);
  const look = async () => {
    const { current_vm_cid: vm, current_stemcell_id: used, disks, stemcells } = await state();
    const stemcell = stemcells?.find(({ id }) => id === used)?.cid;
    await lookAt(cloud, floating, journey, { vm, disk: disks?.[0]?.cid, stemcell });
    return vm;
  };
  let first = '';
  try {
    const isDeployed = await line('all steps, to the service that answers', async () => {
      tellSteps(report, await journey.deploy());
    });
    if (!isDeployed) return;
    await line('the service is reached on the floating IP, and keeps what it is given', () => service.keep());
    await line('image, server, floating IP and volume are what they should be, by the APIs', async () => {
      first = await look();
    });
    await line('the registry of the deploy has the settings of this server, if there is one', async () => {
      strictEqual(storedSettings(stateFile), journey.storedSettings);
    });
    await line('a new server gets the volume with its data', async () => {
      tellSteps(report, await journey.recreate());
      notStrictEqual(await look(), first);
      await service.kept();
      strictEqual(await cloud.has('server', first), false);
      strictEqual(storedSettings(stateFile), journey.storedSettings);
    });
  } finally {
    await line('everything is deleted, and so are the settings in the registry', async () => {
      const known = existsSync(stateFile) ? await state() : undefined;
      tellSteps(report, await journey.delete());
      strictEqual(storedSettings(stateFile), 0);
      if (known === undefined) return;
      strictEqual(await cloud.has('server', known.current_vm_cid), false);
      for (const { cid } of known.disks ?? []) strictEqual(await cloud.has('volume', cid), false);
      for (const { cid } of known.stemcells ?? []) {
        strictEqual(await cloud.has('image', cid), cid === journey.adoptedImage);
      }
      strictEqual((await cloud.floatingIp(floating.id)).port_id, null);
    });
  }
}

async function lookAt(
  cloud: CloudView,
  floating: FloatingIp,
  { metadata, privateIp }: Journey,
  {
    vm,
    disk = '',
    stemcell = '',
  }: { readonly vm: string; readonly disk: string | undefined; readonly stemcell: string | undefined },
): Promise<void> {
  const server = await cloud.server(vm);
  strictEqual(server.status, 'ACTIVE');
  for (const [key, value] of Object.entries(metadata)) strictEqual(server.metadata[key], value);
  strictEqual(server.image.id, stemcell);
  strictEqual((await cloud.image(stemcell)).status, 'active');
  const volume = await cloud.volume(disk);
  strictEqual(volume.status, 'in-use');
  deepStrictEqual(
    volume.attachments.map((attachment) => attachment.server_id),
    [vm],
  );
  const { port_id: port, fixed_ip_address: fixed } = await cloud.floatingIp(floating.id);
  ok(port !== null, 'the floating IP belongs to no port');
  strictEqual((await cloud.port(port)).device_id, vm);
  strictEqual(fixed, privateIp);
}

/** Documents in the registry that the deployer runs; none when its file has gone. */
function storedSettings(stateFile: string): unknown {
  const file = join(`${stateFile}.d`, 'registry.sqlite');
  if (!existsSync(file)) return 0;
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    return database.prepare('SELECT count(*) AS documents FROM microbosh_settings').get()?.['documents'];
  } finally {
    database.close();
  }
}

function tellSteps(report: LabReport, { stdout }: Finished): void {
  for (const step of stdout.matchAll(/^\s*(\S.*)\.\.\. Finished \((\d\d:\d\d:\d\d)\)$/gm)) {
    report.figure(step[1] ?? '', step[2] ?? '');
  }
}

/**
 * Through a manifest of create-env: the stemcell and the release named by the manifest, settings as user data, since the
 * cloud does not say where a server would reach this machine and no tunnel is wanted.
 */
export async function deployByCreateEnv(
  lab: OpenstackLab,
  parts: DeployedParts,
  report: LabReport,
): Promise<void> {
  const { cloud } = lab;
  const folder = join(lab.work, 'create-env');
  await mkdir(join(folder, 'home'), { recursive: true });
  const manifest = join(folder, 'manifest.yml');
  const floating = await cloud.allocateFloatingIp();
  const env = { HOME: join(folder, 'home'), NO_COLOR: '1', no_proxy: '*' };
  const privateIp = '10.77.0.50';
  await writeFile(manifest, createEnvManifest(lab, { privateIp, floatingIp: floating.address }, parts), {
    mode: 0o600,
  });
  const creds = ['--vars-store', join(folder, 'creds.yml')];
  const command = (name: string, ...args: string[]) => bounded(env, name, manifest, '--tty', ...args);
  const value = async (path: string) =>
    (await command('interpolate', ...creds, '--path', path)).stdout.replace(/\n$/, '');
  try {
    const journey: Journey = {
      name: 'create-env',
      manifest,
      privateIp,
      service: new Service(floating.address, async () => ({
        ca: await value('/readiness/0/ca'),
        password: await value('/instance_groups/name=registry/properties/registry/password'),
      })),
      storedSettings: 0,
      metadata: { deployment: 'lab', job: 'registry', index: '0' },
      deploy: () => command('create-env', ...creds),
      recreate: () => command('create-env', '--recreate', ...creds),
      delete: () => command('delete-env', '-n'),
    };
    await play(journey, cloud, floating, report);
  } finally {
    await cloud.releaseFloatingIp(floating.id);
  }
}

/**
 * Through micro_bosh.yml, as the OpenStack plug-in of bosh micro was used: a micro stemcell, and settings from the registry
 * of the deploy, which the server reaches over the tunnel that the key pair opens. First the stemcell is a tarball; the new
 * server is made from an image that is in Glance already, so that its agent is asked for the apply spec.
 */
export async function deployByMicro(
  lab: OpenstackLab,
  microStemcell: string,
  report: LabReport,
): Promise<void> {
  const { cloud } = lab;
  const folder = join(lab.work, 'micro');
  await mkdir(join(folder, 'home'), { recursive: true });
  const manifest = join(folder, 'micro_bosh.yml');
  const floating = await cloud.allocateFloatingIp();
  const env = { HOME: join(folder, 'home'), NO_COLOR: '1', no_proxy: '*' };
  const privateIp = '10.77.0.60';
  const certificate = await makeCertificate(folder, floating.address);
  const password = 'lab-secret';
  const addresses = { privateIp, floatingIp: floating.address };
  await writeFile(manifest, JSON.stringify(microManifest(lab, addresses, { certificate, password })), {
    mode: 0o600,
  });
  const micro = (...args: string[]) => bounded(env, 'micro', ...args);
  let image: string | undefined;
  try {
    const adopted = await uploadImage(cloud, folder, microStemcell);
    image = adopted;
    await micro('deployment', folder);
    const journey: Journey = {
      name: 'micro deploy',
      manifest,
      privateIp,
      service: new Service(floating.address, async () => ({ ca: certificate.certificate, password })),
      storedSettings: 1,
      metadata: { deployment: 'lab-micro', index: '0' },
      adoptedImage: adopted,
      deploy: () => micro('deploy', microStemcell, '--tty', '-n'),
      recreate: async () => {
        const updated = await micro('deploy', '--image', adopted, '--update', '--tty', '-n');
        const calls = await readFile(join(folder, 'micro_bosh-state.json.d/events.jsonl'), 'utf8');
        match(calls, askedForSpec);
        return updated;
      },
      delete: () => micro('delete', '--tty', '-n'),
    };
    await play(journey, cloud, floating, report);
  } finally {
    if (image !== undefined) await cloud.deleteImage(image);
    await cloud.releaseFloatingIp(floating.id);
  }
}

/** As an operator brings a stemcell into a cloud before the deploy. */
async function uploadImage(cloud: CloudView, folder: string, stemcell: string): Promise<string> {
  const unpacked = join(folder, 'stemcell');
  await mkdir(unpacked);
  await succeed(['tar', '-xzf', stemcell, '-C', unpacked, 'image'], { timeoutMs: requestLimitMs });
  await succeed(['tar', '-xzf', join(unpacked, 'image'), '-C', unpacked], { timeoutMs: requestLimitMs });
  return cloud.uploadImage('micro stemcell', join(unpacked, 'root.img'));
}

async function bounded(
  env: Readonly<Record<string, string>>,
  name: string,
  ...args: string[]
): Promise<Finished> {
  const finished = await start(['bin/microbosh', name, ...args], { env, timeoutMs: deployLimitMs }).finished;
  if (finished.exitCode !== 0) throw new Error(`${name} failed:\n${finished.output.slice(-4000)}`);
  return finished;
}

export async function makeCertificate(folder: string, address: string): Promise<Certificate> {
  const certificate = join(folder, 'server.crt');
  const privateKey = join(folder, 'server.key');
  await succeed([
    'openssl',
    ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=micro'],
    ...['-addext', `subjectAltName=IP:${address}`, '-keyout', privateKey, '-out', certificate],
  ]);
  return {
    certificate: await readFile(certificate, 'utf8'),
    privateKey: await readFile(privateKey, 'utf8'),
  };
}
