import { describe, expect, it } from 'vitest';
import { parseYaml } from '../yaml/parse-yaml.ts';
import { toJson } from '../yaml/yaml-node.ts';
import { withMicroDefaults, type MicroPlugin } from './micro-defaults.ts';

/** Written by hand from the tables of reference micro-deployer §3.3, complete: a default too many is an error as well. */
const common = `
name: null
dir: null
logging: {level: INFO}
env: {bosh: {password: null}}
apply_spec: {properties: {}, agent: {blobstore: {}, nats: {}}}
`;
const agent = `
    agent:
      ntp: []
      blobstore: {provider: local, options: {blobstore_path: /var/vcap/micro_bosh/data/cache}}
      mbus: null
`;
const golden: Readonly<Record<'aws' | 'openstack' | 'vcloud' | 'vsphere', string>> = {
  aws: `${common}
network: {type: dynamic, cloud_properties: {}}
resources: {persistent_disk: 4096, cloud_properties: {instance_type: m1.small, availability_zone: null}}
cloud:
  plugin: aws
  properties:
    aws:
      access_key_id: null
      secret_access_key: null
      ec2_endpoint: null
      default_key_name: null
      max_retries: 2
      http_read_timeout: 60
      http_wire_trace: false
      default_security_groups: []
      ssh_user: vcap
    registry: {endpoint: "http://admin:admin@localhost:25888", user: admin, password: admin}
    stemcell: {kernel_id: null, disk: 4096}
${agent}`,
  openstack: `${common}
network: {type: dynamic, cloud_properties: {}}
resources: {persistent_disk: 4096, cloud_properties: {instance_type: m1.small, availability_zone: null}}
cloud:
  plugin: openstack
  properties:
    openstack:
      auth_url: null
      username: null
      api_key: null
      tenant: null
      region: null
      default_key_name: null
      endpoint_type: publicURL
      wait_resource_poll_interval: 5
      default_security_groups: []
      ssh_user: vcap
      config_drive: null
    registry: {endpoint: "http://admin:admin@localhost:25889", user: admin, password: admin}
${agent}`,
  vcloud: `${common}
network: {cloud_properties: {name: null}, dns: []}
resources: {persistent_disk: 4096, cloud_properties: {ram: 1024, disk: 4096, cpu: 1}}
cloud:
  plugin: vcloud
  properties:
    vcds: []
${agent}`,
  vsphere: `${common}
network: {cloud_properties: {name: null}, dns: [], ip: null, netmask: null, gateway: null}
resources: {persistent_disk: 4096, cloud_properties: {ram: 1024, disk: 4096, cpu: 1}}
cloud:
  plugin: vsphere
  properties:
    vcenters: []
${agent}`,
};

const json = (text: string) => toJson(parseYaml(text, { file: 'golden', dialect: 'psych' }));

describe('the defaults of micro_bosh.yml', () => {
  it.each(Object.entries(golden))('of %s, and nothing else', (plugin, text) => {
    expect(withMicroDefaults({}, plugin as MicroPlugin)).toEqual(json(text));
  });

  it.each([
    ['maps merge', { env: { bosh: { a: 1 } } }, '/env', { bosh: { password: null, a: 1 } }],
    [
      'lists join without repetition',
      { network: { dns: ['1.1.1.1', '1.1.1.1'] } },
      '/network/dns',
      ['1.1.1.1'],
    ],
    ['null replaces a map', { apply_spec: null }, '/apply_spec', null],
    ['a scalar replaces a map', { env: 'x' }, '/env', 'x'],
    ['a map replaces a scalar', { logging: { level: { deep: 1 } } }, '/logging', { level: { deep: 1 } }],
    ['keys of its own stay', { x: { y: [1] } }, '/x', { y: [1] }],
  ] as const)('%s', (_rule, manifest, path, wanted) => {
    const merged = withMicroDefaults(manifest, 'vsphere');

    const found = path
      .slice(1)
      .split('/')
      .reduce<unknown>((value, key) => (value as Record<string, unknown>)[key], merged);
    expect(found).toEqual(wanted);
  });

  it('are not changed by a manifest that is put over them', () => {
    withMicroDefaults({ network: { dns: ['1.1.1.1'] }, env: { bosh: { password: 'x' } } }, 'vsphere');

    expect(withMicroDefaults({}, 'vsphere')).toEqual(json(golden.vsphere));
  });
});
