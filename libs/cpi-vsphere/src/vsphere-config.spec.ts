import { describe, expect, it } from 'vitest';
import type { JsonObject } from '@microbosh/errors';
import { vsphereConfig } from './vsphere-config.ts';

const datacenter: JsonObject = {
  name: 'DC',
  datastore_pattern: '^vm$',
  persistent_datastore_pattern: '^disk$',
  clusters: ['C1'],
};
const vcenter: JsonObject = { host: 'v', user: 'u', password: 'secret', datacenters: [datacenter] };
const read = (...vcenters: JsonObject[]) =>
  vsphereConfig({ cloud: { plugin: 'vsphere', properties: { vcenters } } });

describe('configuration', () => {
  it('has the defaults of the original', () => {
    expect(read(vcenter)).toMatchObject({
      diskType: 'preallocated',
      scsiController: 'ParaVirtualSCSIController',
      ensureNoIpConflicts: true,
      hardwareVersion: 17,
      vmFolder: 'BOSH_VMs',
      templateFolder: 'BOSH_Templates',
      diskPath: 'BOSH_Disks',
      clusters: [{ name: 'C1', resourcePool: undefined }],
    });
  });

  it('takes clusters with a resource pool', () => {
    const clusters = [{ C1: { resource_pool: 'P' } }, 'C2'];

    expect(read({ ...vcenter, datacenters: [{ ...datacenter, clusters }] }).clusters).toEqual([
      { name: 'C1', resourcePool: 'P' },
      { name: 'C2', resourcePool: undefined },
    ]);
  });

  it('is overlaid by the Director’s CPI configuration', () => {
    const properties = { vcenters: [vcenter], vsphere: { host: 'other' } };

    expect(vsphereConfig({ cloud: { plugin: 'vsphere', properties } }).host).toBe('other');
  });

  it.each([
    [[vcenter, vcenter], 'vSphere CPI only supports a single vCenter'],
    [
      [{ ...vcenter, datacenters: [datacenter, datacenter] }],
      'vSphere CPI only supports a single datacenter',
    ],
    [[{ ...vcenter, datacenters: [] }], 'vSphere CPI only supports a single datacenter'],
    [[], 'Invalid vSphere cloud properties'],
    [[{ ...vcenter, default_disk_type: 'thick' }], 'vcenters.0.default_disk_type'],
    [[{ ...vcenter, datacenters: [{ ...datacenter, datastore_pattern: '(' }] }], "'datastore_pattern'"],
  ] as [JsonObject[], string][])('refuses %j', (vcenters, message) => {
    expect(() => read(...vcenters)).toThrow(message);
  });

  it('does not tell the password', () => {
    const problem = (() => {
      try {
        read({ ...vcenter, default_disk_type: 'thick' });
        return '';
      } catch (error) {
        return JSON.stringify(error) + String(error);
      }
    })();

    expect(problem).not.toContain('secret');
  });
});
