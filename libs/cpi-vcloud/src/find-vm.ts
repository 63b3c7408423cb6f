import { VmNotFound } from '@microbosh/cpi';
import type { XmlNode } from '@microbosh/cpi/xml';
import type { VcloudCloud } from './cloud.ts';
import { datacenterOf } from './datacenter.ts';
import { VmDocument } from './vm-document.ts';

type Signal = AbortSignal | undefined;

export async function findVm(
  { client }: VcloudCloud,
  cid: string,
  signal: Signal,
): Promise<VmDocument | undefined> {
  const node = await client.resolve(cid, 'vcloud.vm', signal);
  return node === undefined ? undefined : new VmDocument(node);
}

export async function vmOf(cloud: VcloudCloud, cid: string, signal: Signal): Promise<VmDocument> {
  const found = await findVm(cloud, cid, signal);
  if (found !== undefined) return found;
  throw new VmNotFound(cid);
}

export interface NamedVm {
  readonly vApp: XmlNode;
  /** Undefined: the vApp has none. */
  readonly vm: XmlNode | undefined;
}

/** Of vApps that hold one VM: its own name, which the VM gets when it is configured. */
export const isOwnName = (name: string): boolean => /^vm-[0-9a-f-]{36}$/.test(name);

export const vmsOf = (vApp: XmlNode): readonly XmlNode[] => vApp.at('Children')?.all('Vm') ?? [];

/** A VM by the name that create_vm has given: in a vApp of that name, or among others in one that collects VMs. */
export async function findVmByName(
  cloud: VcloudCloud,
  name: string,
  signal: Signal,
): Promise<NamedVm | undefined> {
  const { client } = cloud;
  const vApps = (await datacenterOf(cloud, signal)).entities('vcloud.vApp');
  const own = vApps.find((entity) => entity.name === name);
  if (own !== undefined) {
    const vApp = await client.settled(own.href, signal);
    if (vApp !== undefined) return { vApp, vm: vmsOf(vApp)[0] };
  }
  // Those that hold one VM are named like it.
  for (const { href } of vApps.filter((entity) => !isOwnName(entity.name))) {
    const vApp = await client.find(href, signal);
    const vm = vApp && vmsOf(vApp).find((child) => child.attribute('name') === name);
    if (vApp !== undefined && vm !== undefined) return { vApp, vm };
  }
  return undefined;
}
