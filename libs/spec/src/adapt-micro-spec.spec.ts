import { describe, expect, it } from 'vitest';
import type { JsonObject } from '@microbosh/errors';
import { adaptMicroApplySpec } from './adapt-micro-spec.ts';
import { parseMicroManifest, translateMicroManifest } from './manifest/translate-micro.ts';

/** As a micro stemcell of the field brings it: every service that the rules of micro-deployer §8.4 name. */
const spec: JsonObject = {
  deployment: 'micro',
  release: { name: 'bosh', version: '13' },
  index: 0,
  networks: { local: { ip: '127.0.0.1' } },
  properties: {
    blobstore: { provider: 'dav', agent: { user: 'agent' } },
    nats: { user: 'nats' },
    registry: { http: { port: 25777 } },
    dns: { db: 'pg' },
    director: { port: 25555, ssl: { key: 'old', cert: 'old' } },
    redis: { password: 'r' },
    hm: { intervals: { poll: 60 } },
    ntp: ['old'],
    compiled_package_cache: { provider: 'old' },
  },
  packages: {},
  configuration_hash: {},
  job: { name: 'nats', template: 'nats', templates: [] },
};

const overrides = `
apply_spec:
  agent:
    blobstore: {address: 203.0.113.1}
    nats: {ping_interval: 5}
  properties:
    blobstore: {agent: {password: p}}
    dns: {address: 203.0.113.2}
    director: {ssl: {key: new}}
    hm: {resurrector_enabled: true}
    ntp: [new]
    compiled_package_cache: {provider: s3}
`;

/** Everything but the IaaS's own part, the same for all of them. */
const common = (agentIp: string) => ({
  blobstore: { provider: 'dav', agent: { password: 'p' }, address: '127.0.0.1' },
  nats: { user: 'nats', address: '127.0.0.1' },
  registry: { http: { port: 25777 }, address: agentIp },
  dns: { db: 'pg', address: '203.0.113.2' },
  director: { port: 25555, name: 'm', ssl: { key: 'new' }, address: '127.0.0.1' },
  redis: { password: 'r', address: '127.0.0.1' },
  hm: { intervals: { poll: 60 }, resurrector_enabled: true },
  ntp: ['new'],
  compiled_package_cache: { provider: 's3' },
  agent: {
    blobstore: { address: '203.0.113.1' },
    nats: { address: agentIp, ping_interval: 5 },
  },
});

function adapt(manifest: string): JsonObject {
  const { model } = translateMicroManifest(parseMicroManifest(`name: m\n${manifest}${overrides}`, 'm.yml'), {
    file: 'm.yml',
    manifestDirectory: '/d',
    homeDirectory: '/h',
    stemcell: { url: 'file:///s.tgz' },
  });
  if (model.micro === undefined) throw new Error('not a micro model');
  return adaptMicroApplySpec(spec, {
    name: model.name,
    micro: model.micro,
    agentServicesIp: model.micro.agentServicesIp ?? '',
  });
}

const withoutNetworks = Object.fromEntries(Object.entries(spec).filter(([key]) => key !== 'networks'));
const untouched = structuredClone(spec);

describe('the whole spec as micro sends it', () => {
  it('for aws', () => {
    const adapted = adapt(`
network: {vip: 198.51.100.1}
cloud:
  plugin: aws
  properties:
    aws: {access_key_id: k, region: r}
    registry: {endpoint: "http://u:p@registry:1", user: u, password: p}
    stemcell: {disk: 8192}
`);

    expect(adapted).toEqual({
      ...withoutNetworks,
      properties: {
        ...common('198.51.100.1'),
        aws: {
          access_key_id: 'k',
          secret_access_key: null,
          region: 'r',
          ec2_endpoint: null,
          max_retries: 2,
          http_read_timeout: 60,
          http_wire_trace: false,
          default_key_name: null,
          default_security_groups: [],
          ssh_user: 'vcap',
          registry: { endpoint: 'http://u:p@registry:1', user: 'u', password: 'p' },
          stemcell: { kernel_id: null, disk: 8192 },
        },
      },
    });
  });

  it('for openstack, with the options that the manifest gives for the spec', () => {
    const adapted = adapt(`
network: {type: manual, ip: 10.0.0.5}
cloud: {plugin: openstack, properties: {openstack: {auth_url: inner}}}
`);

    expect(adapted).toEqual({
      ...withoutNetworks,
      properties: {
        ...common('10.0.0.5'),
        openstack: {
          auth_url: 'inner',
          username: null,
          api_key: null,
          tenant: null,
          region: null,
          endpoint_type: 'publicURL',
          wait_resource_poll_interval: 5,
          default_key_name: null,
          default_security_groups: [],
          ssh_user: 'vcap',
          config_drive: null,
          registry: { endpoint: 'http://admin:admin@localhost:25889', user: 'admin', password: 'admin' },
          stemcell: null,
        },
      },
    });
  });

  it('for vcloud', () => {
    const adapted = adapt(`
network: {ip: 10.0.0.5}
cloud: {plugin: vcloud, properties: {vcds: [{url: "https://vcd", user: u}, {url: other}]}}
`);

    expect(adapted).toEqual({
      ...spec,
      properties: { ...common('10.0.0.5'), vcd: { url: 'https://vcd', user: 'u', address: 'https://vcd' } },
    });
  });

  it('for vsphere, whose agents are on a network of their own', () => {
    const adapted = adapt(`
network: {ip: 10.0.0.5}
deployment_network: {ip: 10.1.0.5}
cloud: {plugin: vsphere, properties: {vcenters: [{host: vc, address: other}]}}
`);

    expect(adapted).toEqual({
      ...spec,
      properties: { ...common('10.1.0.5'), vcenter: { host: 'vc', address: 'other' } },
    });
  });

  it('leaves the spec alone that it is given', () => {
    expect(spec).toEqual(untouched);
  });
});
