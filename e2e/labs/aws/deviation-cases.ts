import { ok, rejects, strictEqual } from 'node:assert/strict';
import type { CallContext } from '@microbosh/cpi';
import { awsUnderTest } from '@microbosh/cpi-aws/testing';
import type { JsonObject } from '@microbosh/errors';
import type { LabCase } from '../clouds/lab-cases.ts';
import { FaultProxy } from '../fault-proxy/fault-proxy.ts';
import type { Fault, FaultRule } from '../fault-proxy/fault-proxy.ts';
import { dynamicNetwork, vmProperties } from './cases.ts';
import type { AwsLab } from './cases.ts';
import { errorAnswer } from './faults.ts';

type Opened = ReturnType<typeof awsUnderTest>;

const context: CallContext = { directorUuid: 'lab', requestId: 'cpi-1', stemcellApiVersion: 3 };

const on = (action: string, fault: Fault, times: number, after = 0): FaultRule => ({
  path: /./,
  body: new RegExp(`(^|&)Action=${action}(&|$)`),
  ...{ fault, times, after },
});

/** A state that moto leaves at once, and EC2 after a while. */
const slow = (from: string, to: string): Fault => ({
  kind: 'rewrite',
  change: (body) => body.replaceAll(`>${from}<`, `>${to}<`),
});

/** What AWS answers where moto does not: each is put into the answers on the way. */
export function awsDeviationCases({ endpoint, place }: AwsLab): readonly LabCase[] {
  const light = { ami: { 'us-east-1': place.amiId } };
  const manual = {
    default: { type: 'manual', ip: place.freeIp, cloud_properties: { subnet: place.subnetId } },
  } as const;

  /** Every rule does its harm as often as it says: no more, no less. */
  async function behind(rules: readonly FaultRule[], use: (cpi: Opened) => Promise<void>): Promise<void> {
    const proxy = await FaultProxy.start([endpoint]);
    proxy.inject(...rules);
    try {
      await use(awsUnderTest(proxy.addressOf(endpoint)));
      ok(proxy.clear(), 'AWS was not asked as often as the case needs');
    } finally {
      await proxy.stop();
    }
  }

  async function createVm(cpi: Opened, properties: JsonObject = {}, networks = dynamicNetwork(place)) {
    const stemcell = await cpi.createStemcell(context, '', light);
    const all = { ...vmProperties(place), ...properties };
    return (await cpi.createVm(context, 'agent-1', stemcell, all, networks, [], {})).cid;
  }

  async function withVm(use: (vmCid: string, healthy: Opened) => Promise<void>): Promise<void> {
    const healthy = awsUnderTest(endpoint);
    const cid = await createVm(healthy);
    try {
      await use(cid, healthy);
    } finally {
      await healthy.deleteVm(context, cid);
    }
  }

  async function withDisk(use: (vmCid: string, diskCid: string) => Promise<void>): Promise<void> {
    await withVm(async (vmCid, healthy) => {
      const diskCid = await healthy.createDisk(context, 1024, {}, vmCid);
      try {
        await use(vmCid, diskCid);
      } finally {
        await healthy.deleteDisk(context, diskCid);
      }
    });
  }

  const made = (name: string, rules: readonly FaultRule[], networks = dynamicNetwork(place)): LabCase => ({
    method: 'create_vm',
    name,
    body: () =>
      behind(rules, async (cpi) => {
        const cid = await createVm(cpi, {}, networks);
        strictEqual(await cpi.hasVm(context, cid), true);
        await cpi.deleteVm(context, cid);
      }),
  });
  const refused = (
    name: string,
    rules: readonly FaultRule[],
    message: RegExp,
    properties: JsonObject = {},
  ): LabCase => ({
    method: 'create_vm',
    name,
    body: () =>
      behind(rules, async (cpi) => {
        await rejects(createVm(cpi, properties), message);
      }),
  });

  return [
    made(
      'an address that an interface on its way out has is asked for until it is free',
      [on('CreateNetworkInterface', errorAnswer(400, 'InvalidIPAddress.InUse'), 3)],
      manual,
    ),
    refused(
      'an address that stays taken is told',
      [on('CreateNetworkInterface', errorAnswer(400, 'InvalidIPAddress.InUse'), 20)],
      /Failed to create network interface/,
    ),
    refused(
      'a security group that is gone is told',
      [on('CreateNetworkInterface', errorAnswer(400, 'InvalidGroup.NotFound'), 1)],
      /Failed to create network interface/,
    ),
    made('an instance that is pending for a while is waited for', [
      on('DescribeInstances', slow('running', 'pending'), 6),
    ]),
    made('an instance that is not known everywhere yet is waited for', [
      on('DescribeInstances', errorAnswer(400, 'InvalidInstanceID.NotFound'), 3),
    ]),
    refused(
      'an instance that ends while it starts is told, and removed',
      [on('DescribeInstances', slow('running', 'terminated'), 1)],
      /ended/,
    ),
    refused(
      'a load balancer that is not there is told, and the instance is removed',
      [on('RegisterInstancesWithLoadBalancer', errorAnswer(400, 'LoadBalancerNotFound'), 1)],
      /injected|LoadBalancer/,
      { elbs: ['none'] },
    ),
    refused(
      'an unknown instance profile in the words of EC2 is told',
      [on('RunInstances', errorAnswer(400, 'InvalidParameterValue'), 1)],
      /injected/,
    ),
    {
      method: 'delete_vm',
      name: 'an instance that is shutting down for a while is waited for',
      body: async () => {
        const healthy = awsUnderTest(endpoint);
        const cid = await createVm(healthy);
        await behind([on('DescribeInstances', slow('terminated', 'shutting-down'), 5)], (cpi) =>
          cpi.deleteVm(context, cid),
        );
      },
    },
    {
      method: 'create_disk',
      name: 'a zone that is not there is told',
      body: () =>
        behind([on('CreateVolume', errorAnswer(400, 'InvalidZone.NotFound'), 1)], async (cpi) => {
          await rejects(cpi.createDisk(context, 1024, {}, null), /injected/);
        }),
    },
    {
      method: 'create_disk',
      name: 'a volume that is creating for a while is waited for',
      body: () =>
        behind([on('DescribeVolumes', slow('available', 'creating'), 5)], async (cpi) => {
          await cpi.deleteDisk(context, await cpi.createDisk(context, 1024, {}, null));
        }),
    },
    {
      method: 'attach_disk',
      name: 'a volume on its way from another instance, then attaching for a while, is waited for',
      body: () =>
        withDisk((vmCid, diskCid) =>
          behind(
            [
              on('AttachVolume', errorAnswer(400, 'VolumeInUse'), 3),
              on('DescribeVolumes', slow('attached', 'attaching'), 4, 1),
            ],
            async (cpi) => {
              await cpi.attachDisk(context, vmCid, diskCid);
              await cpi.detachDisk(context, vmCid, diskCid);
            },
          ),
        ),
    },
    {
      method: 'detach_disk',
      name: 'a volume that is detaching already is waited for',
      body: () =>
        withDisk(async (vmCid, diskCid) => {
          await awsUnderTest(endpoint).attachDisk(context, vmCid, diskCid);
          const rules = [
            on('DetachVolume', errorAnswer(400, 'IncorrectState'), 1),
            on('DescribeVolumes', slow('attached', 'detaching'), 3, 1),
          ];
          const answered = behind(rules, (cpi) => cpi.detachDisk(context, vmCid, diskCid));
          // The first request was not carried out: the volume stays, and the wait ends with what is missing.
          await rejects(answered, /to be detached/);
          await awsUnderTest(endpoint).detachDisk(context, vmCid, diskCid);
        }),
    },
    {
      method: 'delete_stemcell',
      name: 'an image that is gone in the words of EC2 counts as deleted',
      body: () =>
        behind([on('DescribeImages', errorAnswer(400, 'InvalidAMIID.Unavailable'), 1)], (cpi) =>
          cpi.deleteStemcell(context, 'ami-00000000000000000'),
        ),
    },
  ];
}
