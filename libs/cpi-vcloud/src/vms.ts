import { CloudError, uuidFor } from '@microbosh/cpi';
import type { CallContext, CreatedVm, FoundResource, VmRequest } from '@microbosh/cpi';
import type { XmlNode } from '@microbosh/cpi/xml';
import type { JsonObject } from '@microbosh/errors';
import type { NetworkSpec, NetworksSpec } from '@microbosh/spec';
import { metadataOf, removeSettings, saveSettings } from './agent-env.ts';
import type { VcloudCloud } from './cloud.ts';
import { datacenterOf, networkOf } from './datacenter.ts';
import type { Datacenter } from './datacenter.ts';
import { detachAll, sizeMiBOf } from './disks.ts';
import { instantiateTemplate, metadata, networkConfigSection, recompose, undeploy } from './documents.ts';
import type { BridgedNetwork } from './documents.ts';
import { findVm, findVmByName, isOwnName, vmOf, vmsOf } from './find-vm.ts';
import { actionOf } from './links.ts';
import { stemcellOf } from './stemcells.ts';
import { isDuplicate, VcdError } from './vcd-error.ts';
import { VmDocument } from './vm-document.ts';

type Signal = AbortSignal | undefined;

const status = { suspended: '3', poweredOn: '4' };

interface WantedNetwork {
  /** In the request. */
  readonly key: string;
  readonly network: string;
  readonly ip: string;
}

/** Everything that can be checked before anything is made. */
interface Prepared {
  readonly name: string;
  readonly cpu: number;
  readonly ramMiB: number;
  readonly diskMiB: number;
  readonly networks: readonly WantedNetwork[];
  readonly bridged: readonly BridgedNetwork[];
  readonly stemcell: { readonly templateHref: string; readonly vmHref: string };
  readonly diskHrefs: readonly string[];
  readonly datacenter: Datacenter;
  /** Of the vApp that collects several VMs. */
  readonly container: string | undefined;
}

function requiredNumber(properties: JsonObject, key: string): number {
  const value = properties[key];
  if (typeof value === 'number' && Number.isInteger(value) && value > 0) return value;
  throw new CloudError(`Missing VM cloud properties: '${key}'`, {
    advice: 'cpu is a number of CPUs; ram and disk are MB. All are integers.',
  });
}

function wantedNetworks(networks: NetworksSpec): WantedNetwork[] {
  return Object.entries(networks).map(([key, spec]) => {
    const network = spec.cloud_properties?.['name'];
    if (spec.type === 'vip') {
      throw new CloudError(`Network '${key}' is a vip network; vCloud knows only manual ones`);
    }
    if (typeof network !== 'string' || network === '') {
      throw new CloudError(`Network '${key}' has no 'name' in its cloud properties`, {
        advice: 'It is the name of a network of the organization.',
      });
    }
    if (spec.ip === undefined || spec.ip === '') {
      throw new CloudError(`Network '${key}' has no address; vCloud knows only manual networks`, {
        advice: "Give it an 'ip' (static_ips).",
      });
    }
    return { key, network, ip: spec.ip };
  });
}

async function prepare(
  cloud: VcloudCloud,
  request: VmRequest,
  name: string,
  signal: Signal,
): Promise<Prepared> {
  const { client } = cloud;
  const properties = request.cloudProperties;
  const cpu = requiredNumber(properties, 'cpu');
  const ramMiB = requiredNumber(properties, 'ram');
  const diskMiB = requiredNumber(properties, 'disk');
  const networks = wantedNetworks(request.networks);
  const container = request.env['vapp'];
  const datacenter = await datacenterOf(cloud, signal);
  const bridged: BridgedNetwork[] = [];
  for (const network of new Set(networks.map((wanted) => wanted.network))) {
    bridged.push(await networkOf(cloud, datacenter, network, signal));
  }
  const stemcell = await stemcellOf(cloud, request.stemcellCid, signal);
  const diskHrefs: string[] = [];
  for (const cid of request.diskCids) {
    const disk = await client.resolve(cid, 'vcloud.disk', signal);
    const href = disk?.attribute('href');
    if (href !== undefined) diskHrefs.push(href);
  }
  return {
    ...{ name, cpu, ramMiB, diskMiB, networks, bridged, stemcell, diskHrefs, datacenter },
    container: typeof container === 'string' && container !== '' ? container : undefined,
  };
}

/** The VM as the template has it, alone in a vApp of its name. */
async function instantiate(cloud: VcloudCloud, prepared: Prepared, signal: Signal): Promise<XmlNode> {
  const { client, config } = cloud;
  const { name, datacenter, stemcell, diskHrefs } = prepared;
  const body = instantiateTemplate({
    ...{ name, description: config.description, ...stemcell, diskHrefs },
    profileHref: datacenter.profile(config.vmProfile)?.href,
  });
  const type = 'vcloud.instantiateVAppTemplateParams';
  const vApp = await client.settle(await client.post(datacenter.action(type), type, body, signal), signal);
  if (vApp === undefined || vmsOf(vApp).length !== 1) {
    throw new CloudError(`vCloud instantiated the stemcell, but vApp '${name}' has no VM`);
  }
  return vApp;
}

const networkConfigs = (vApp: XmlNode): readonly XmlNode[] =>
  vApp.at('NetworkConfigSection')?.all('NetworkConfig') ?? [];

const configName = (config: XmlNode): string => config.attribute('networkName') ?? '';

async function setNetworks(
  { client }: VcloudCloud,
  vApp: XmlNode,
  present: readonly XmlNode[],
  added: readonly BridgedNetwork[],
  signal: Signal,
): Promise<void> {
  const section = vApp.at('NetworkConfigSection');
  const url = section?.attribute('href') ?? `${vApp.attribute('href') ?? ''}/networkConfigSection/`;
  const body = networkConfigSection(present, added);
  await client.settle(await client.put(url, 'vcloud.networkConfigSection', body, signal), signal);
}

/** Networks of the vApp, hardware of the VM, and away with the networks that only the template used. */
async function configure(
  cloud: VcloudCloud,
  prepared: Prepared,
  vApp: XmlNode,
  signal: Signal,
): Promise<{ readonly vm: VmDocument; readonly ephemeralUnit: number }> {
  const { client, config } = cloud;
  const present = networkConfigs(vApp);
  const missing = prepared.bridged.filter(({ name }) => !present.some((each) => configName(each) === name));
  await setNetworks(cloud, vApp, present, missing, signal);
  const href = vmsOf(vApp)[0]?.attribute('href') ?? '';
  const template = new VmDocument(await client.get(href, signal));
  const reconfigure = actionOf(template.node, 'reconfigureVm', 'vcloud.vm');
  if (reconfigure === undefined)
    throw new CloudError(`vCloud allows no reconfiguration of VM '${template.name}'`);
  const body = template.reconfigured({ ...prepared, description: config.description });
  await client.settle(await client.post(reconfigure, 'vcloud.vm', body, signal), signal);
  const vm = new VmDocument(await client.get(href, signal));
  const before = new Set(template.disks.map(({ unit }) => unit));
  const added = vm.disks.filter(({ unit }) => !before.has(unit));
  const [ephemeral] = added;
  if (ephemeral === undefined || added.length > 1) {
    throw new CloudError(`Expecting ${before.size + 1} disks, found ${vm.disks.length}`);
  }
  const now = await client.get(vApp.attribute('href') ?? '', signal);
  const wanted = new Set(prepared.bridged.map(({ name }) => name));
  const used = networkConfigs(now).filter((each) => wanted.has(configName(each)));
  if (used.length < networkConfigs(now).length) await setNetworks(cloud, now, used, [], signal);
  return { vm, ephemeralUnit: ephemeral.unit };
}

const moves = 10;

/** Puts the VM into the vApp that collects several; its own becomes that one when there is none yet. */
async function moveTo(
  cloud: VcloudCloud,
  prepared: Prepared,
  container: string,
  own: XmlNode,
  signal: Signal,
): Promise<VmDocument> {
  const { client, config } = cloud;
  for (let attempt = 1; ; attempt += 1) {
    try {
      await moveOnce(cloud, prepared, container, own, signal);
      break;
    } catch (error) {
      signal?.throwIfAborted();
      // Another VM is put into it at the same time.
      const again = isDuplicate(error) || (error instanceof VcdError && error.reason === 'BUSY_ENTITY');
      if (!again || attempt >= moves) throw error;
      await client.pause(Math.min(2000, config.waitDelayMs), signal);
    }
  }
  const found = await findVmByName(cloud, prepared.name, signal);
  const href = found?.vm?.attribute('href');
  if (href === undefined) throw new CloudError('New virtual machine not found in recomposed vApp');
  return new VmDocument(await client.get(href, signal));
}

async function moveOnce(
  cloud: VcloudCloud,
  { bridged }: Prepared,
  container: string,
  own: XmlNode,
  signal: Signal,
): Promise<void> {
  const { client } = cloud;
  const type = 'vcloud.recomposeVAppParams';
  const vApps = (await datacenterOf(cloud, signal)).entities('vcloud.vApp');
  const existing = vApps.find((entity) => entity.name === container);
  const ownHref = own.attribute('href') ?? '';
  const target = await client.settled(existing?.href ?? ownHref, signal);
  const link = target && actionOf(target, 'recompose', type);
  if (target === undefined || link === undefined) throw new CloudError(`vApp '${container}' takes no VM now`);
  if (existing === undefined) {
    await client.settle(await client.post(link, type, recompose(container), signal), signal);
    return;
  }
  const present = networkConfigs(target);
  const missing = bridged.filter(({ name }) => !present.some((each) => configName(each) === name));
  if (missing.length > 0) await setNetworks(cloud, target, present, missing, signal);
  const vmHref = vmsOf(own)[0]?.attribute('href') ?? '';
  await client.settle(await client.post(link, type, recompose(undefined, vmHref), signal), signal);
  await client.settled(ownHref, signal);
  await client.remove(ownHref, signal);
}

function withMacs(networks: NetworksSpec, wanted: readonly WantedNetwork[], vm: VmDocument): NetworksSpec {
  const cards = [...vm.cards];
  const macs = new Map<string, string>();
  for (const { key, network } of wanted) {
    const index = cards.findIndex((card) => card.network === network);
    const [card] = index < 0 ? [] : cards.splice(index, 1);
    if (card !== undefined) macs.set(key, card.mac);
  }
  return Object.fromEntries(
    Object.entries(networks).map(([key, spec]): [string, NetworkSpec] => {
      const mac = macs.get(key);
      return [key, mac === undefined ? spec : { ...spec, mac }];
    }),
  );
}

function agentSettings(
  cloud: VcloudCloud,
  request: VmRequest,
  vm: VmDocument,
  networks: NetworksSpec,
  ephemeralUnit: number,
): JsonObject {
  const system = vm.disks.find(({ unit, diskHref }) => unit !== ephemeralUnit && diskHref === undefined);
  const settings = {
    ...(cloud.agent ?? {}),
    vm: { name: vm.name, id: vm.cid },
    agent_id: request.agentId,
    networks,
    disks: { system: String(system?.unit ?? 0), ephemeral: String(ephemeralUnit), persistent: {} },
    env: request.env,
  };
  return JSON.parse(JSON.stringify(settings)) as JsonObject;
}

async function powerOn({ client }: VcloudCloud, vm: VmDocument, signal: Signal): Promise<void> {
  const now = await client.settled(vm.href, signal);
  const link = now && actionOf(now, 'power:powerOn');
  if (link === undefined) throw new CloudError(`${vm.name} unable to power on`);
  await client.act(link, signal);
}

/** A VM of an earlier call that is switched on has everything: that is the last thing to happen. */
async function completeVm(cloud: VcloudCloud, name: string, signal: Signal): Promise<XmlNode | undefined> {
  const found = await findVmByName(cloud, name, signal);
  if (found === undefined) return undefined;
  const { vApp, vm } = found;
  if (vm?.attribute('status') === status.poweredOn && vm.attribute('name') === name) return vm;
  if (vm === undefined) await cloud.client.remove(vApp.attribute('href') ?? '', signal);
  else await destroyVm(cloud, await documentOf(cloud, vm, signal), signal);
  return undefined;
}

async function documentOf({ client }: VcloudCloud, vm: XmlNode, signal: Signal): Promise<VmDocument> {
  return new VmDocument((await client.settled(vm.attribute('href') ?? '', signal)) ?? vm);
}

/** What a create_vm with this token has made and can be used; its half is removed. */
export async function vmOfToken(
  cloud: VcloudCloud,
  token: string,
  signal: Signal,
): Promise<string | undefined> {
  return (await completeVm(cloud, `vm-${uuidFor(token)}`, signal))?.attribute('id');
}

export async function createVm(
  cloud: VcloudCloud,
  context: CallContext,
  request: VmRequest,
): Promise<CreatedVm> {
  const { signal, token } = context;
  const name = `vm-${uuidFor(token)}`;
  const earlier = token === undefined ? undefined : await completeVm(cloud, name, signal);
  if (earlier !== undefined) {
    const vm = new VmDocument(earlier);
    return { cid: vm.cid, networks: withMacs(request.networks, wantedNetworks(request.networks), vm) };
  }
  const prepared = await prepare(cloud, request, name, signal);
  try {
    const vApp = await instantiate(cloud, prepared, signal);
    const configured = await configure(cloud, prepared, vApp, signal);
    const { container } = prepared;
    const vm =
      container === undefined ? configured.vm : await moveTo(cloud, prepared, container, vApp, signal);
    const networks = withMacs(request.networks, prepared.networks, vm);
    const settings = agentSettings(cloud, request, vm, networks, configured.ephemeralUnit);
    await saveSettings(cloud, vm, settings, signal);
    await powerOn(cloud, vm, signal);
    return { cid: vm.cid, networks };
  } catch (error) {
    await removeHalf(cloud, name);
    signal?.throwIfAborted();
    throw error;
  }
}

/** Best effort, by name: what was made without an answer is not known by its URN. */
async function removeHalf(cloud: VcloudCloud, name: string): Promise<void> {
  try {
    for (let half = await findVmByName(cloud, name, undefined); half !== undefined;) {
      const { vApp, vm } = half;
      if (vm !== undefined) await destroyVm(cloud, await documentOf(cloud, vm, undefined), undefined);
      else await cloud.client.remove(vApp.attribute('href') ?? '', undefined);
      const next = await findVmByName(cloud, name, undefined);
      half = next?.vApp.attribute('href') === vApp.attribute('href') ? undefined : next;
    }
  } catch {
    // The first error is the one to report.
  }
}

/** Switched off and taken from its host. */
async function stop({ client }: VcloudCloud, node: XmlNode, signal: Signal): Promise<void> {
  const href = node.attribute('href') ?? '';
  const discard = actionOf(node, 'discardState');
  if (discard !== undefined) await client.act(discard, signal);
  const now = discard === undefined ? node : await client.settled(href, signal);
  const type = 'vcloud.undeployVAppParams';
  const link = now && actionOf(now, 'undeploy', type);
  if (link !== undefined) await client.settle(await client.post(link, type, undeploy(), signal), signal);
}

/**
 * The VM with its settings, and the vApp that was made for it. Its persistent disks stay. What the settings were delivered on
 * goes first: it is found by the VM.
 */
async function destroyVm(cloud: VcloudCloud, vm: VmDocument, signal: Signal): Promise<void> {
  const { client } = cloud;
  const up = actionOf(vm.node, 'up', 'vcloud.vApp');
  const vApp = up === undefined ? undefined : await client.settled(up, signal);
  const name = vApp?.attribute('name') ?? '';
  // A half has the name of its template still.
  const isAlone = vApp !== undefined && (name === vm.name || isOwnName(name)) && vmsOf(vApp).length === 1;
  const whole = isAlone ? vApp : vm.node;
  await stop(cloud, whole, signal);
  const stopped = await client.settled(vm.href, signal);
  if (stopped !== undefined) {
    const document = new VmDocument(stopped);
    await detachAll(cloud, document, signal);
    await removeSettings(cloud, document, signal);
  }
  const href = whole.attribute('href') ?? '';
  await client.settled(href, signal);
  await client.remove(href, signal);
}

export async function deleteVm(cloud: VcloudCloud, context: CallContext, cid: string): Promise<void> {
  await destroyVm(cloud, await vmOf(cloud, cid, context.signal), context.signal);
}

export async function hasVm(cloud: VcloudCloud, context: CallContext, cid: string): Promise<boolean> {
  return (await findVm(cloud, cid, context.signal)) !== undefined;
}

export async function rebootVm(cloud: VcloudCloud, context: CallContext, cid: string): Promise<void> {
  const { signal } = context;
  const { client } = cloud;
  const vm = await vmOf(cloud, cid, signal);
  const discard = actionOf(vm.node, 'discardState');
  if (discard !== undefined) await client.act(discard, signal);
  if (vm.node.attribute('status') === status.poweredOn) {
    const reboot = actionOf(vm.node, 'power:reboot');
    if (reboot !== undefined && (await rebooted(cloud, reboot, signal))) return;
    const now = await client.settled(vm.href, signal);
    const off = now && actionOf(now, 'power:powerOff');
    if (off === undefined) throw new CloudError(`${vm.name} unable to power off`);
    await client.act(off, signal);
  }
  await powerOn(cloud, vm, signal);
}

/** False when the guest does not take part: it has no tools, or hangs. */
async function rebooted({ client }: VcloudCloud, link: string, signal: Signal): Promise<boolean> {
  try {
    await client.act(link, signal);
    return true;
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof CloudError)) throw error;
    return false;
  }
}

export async function setVmMetadata(
  cloud: VcloudCloud,
  context: CallContext,
  cid: string,
  values: Readonly<Record<string, string>>,
): Promise<void> {
  const { signal } = context;
  const vm = await vmOf(cloud, cid, signal);
  const answer = await cloud.client.post(metadataOf(vm.node), 'vcloud.metadata', metadata(values), signal);
  await cloud.client.settle(answer, signal);
}

async function carries(
  { client }: VcloudCloud,
  node: XmlNode,
  wanted: Readonly<Record<string, string>>,
  signal: Signal,
): Promise<boolean> {
  const entries = (await client.find(metadataOf(node), signal))?.all('MetadataEntry') ?? [];
  const values = new Map(entries.map((entry) => [entry.textAt('Key'), entry.textAt('TypedValue', 'Value')]));
  return Object.entries(wanted).every(([key, value]) => values.get(key) === value);
}

/** VMs and independent disks with all of these values in their metadata. */
export async function findByMetadata(
  cloud: VcloudCloud,
  context: CallContext,
  wanted: Readonly<Record<string, string>>,
): Promise<readonly FoundResource[]> {
  const { signal } = context;
  const { client } = cloud;
  const datacenter = await datacenterOf(cloud, signal);
  const found: FoundResource[] = [];
  for (const { href } of datacenter.entities('vcloud.vApp')) {
    const vApp = await client.find(href, signal);
    for (const vm of vApp === undefined ? [] : vmsOf(vApp)) {
      const cid = vm.attribute('id') ?? '';
      if (await carries(cloud, vm, wanted, signal)) found.push({ kind: 'vm', cid });
    }
  }
  for (const { href } of datacenter.entities('vcloud.disk')) {
    const disk = await client.find(href, signal);
    if (disk === undefined || !(await carries(cloud, disk, wanted, signal))) continue;
    const cid = disk.attribute('id') ?? '';
    found.push({ kind: 'disk', cid, sizeMiB: sizeMiBOf(disk), cloudProperties: {} });
  }
  return found;
}

export async function calculateVmCloudProperties(
  _cloud: VcloudCloud,
  _context: CallContext,
  { cpu, ram, ephemeral_disk_size: disk }: { cpu: number; ram: number; ephemeral_disk_size: number },
): Promise<JsonObject> {
  return { cpu, ram, disk };
}
