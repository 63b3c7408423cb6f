import { describe, expect, it } from 'vitest';
import { adaptMicroApplySpec } from '../adapt-micro-spec.ts';
import { isMicroManifest } from './is-micro-manifest.ts';
import { ManifestInvalid } from './manifest-problem.ts';
import {
  microReferencedFiles,
  parseMicroManifest,
  translateMicroManifest,
  type TranslateMicroOptions,
} from './translate-micro.ts';

const options: TranslateMicroOptions = {
  file: 'micro_bosh.yml',
  manifestDirectory: '/deploy',
  homeDirectory: '/home/op',
  stemcell: { url: 'file:///s.tgz' },
};

const translate = (text: string, more: Partial<TranslateMicroOptions> = {}) =>
  translateMicroManifest(parseMicroManifest(text, 'micro_bosh.yml'), { ...options, ...more });

const openstack = `
name: micro-os
network: {vip: 198.51.100.7, cloud_properties: {net_id: n1}}
resources:
  persistent_disk: 0o
  cloud_properties: {instance_type: m1.medium}
cloud:
  plugin: openstack
  properties:
    openstack:
      auth_url: http://keystone:5000/v2.0
      username: admin
      default_security_groups: [bosh]
      private_key: ~/.ssh/micro.pem
    registry: {endpoint: "http://admin:admin@localhost:25889", user: admin, password: admin}
apply_spec:
  agent: {nats: {address: 198.51.100.7}}
  properties: {hm: {resurrector_enabled: true}, ntp: [a], loggregator: {x: 1}}
`.replace('0o', '16384');

const files = new Map([['/home/op/.ssh/micro.pem', 'KEY']]);

/** Rows are the tables of reference micro-deployer §3.3 and §3.6. */
describe('micro_bosh.yml', () => {
  it.each([
    ['aws', 'dynamic', { instance_type: 'm1.small', availability_zone: null }],
    ['openstack', 'dynamic', { instance_type: 'm1.small', availability_zone: null }],
    ['vcloud', 'dynamic', { ram: 1024, disk: 4096, cpu: 1 }],
    ['vsphere', 'dynamic', { ram: 1024, disk: 4096, cpu: 1 }],
  ])('has the defaults of the plug-in %s', (plugin, type, cloudProperties) => {
    const { model } = translate(`{name: m, cloud: {plugin: ${plugin}}}`);

    expect(model).toMatchObject({
      name: 'm',
      source: 'micro',
      persistentDisk: { sizeMiB: 4096, cloudProperties: {} },
      vm: { cloudProperties },
      networks: { bosh: { type, default: ['dns', 'gateway'] } },
      cloud: {
        kind: 'built-in',
        plugin,
        properties: {
          agent: {
            ntp: [],
            blobstore: { provider: 'local', options: { blobstore_path: '/var/vcap/micro_bosh/data/cache' } },
          },
        },
      },
    });
  });

  it('has the defaults of the AWS and OpenStack options', () => {
    expect(translate('{name: m, cloud: {plugin: aws}}').model.cloud.properties).toMatchObject({
      aws: {
        max_retries: 2,
        http_read_timeout: 60,
        http_wire_trace: false,
        default_security_groups: [],
        ssh_user: 'vcap',
      },
      stemcell: { kernel_id: null, disk: 4096 },
    });
    expect(translate('{name: m, cloud: {plugin: openstack}}').model.cloud.properties).toMatchObject({
      openstack: {
        endpoint_type: 'publicURL',
        wait_resource_poll_interval: 5,
        config_drive: null,
        ssh_user: 'vcap',
      },
    });
  });

  it('becomes the same model as a create-env manifest, with what is its own apart', () => {
    const { model, warnings } = translate(openstack, { files });

    expect(model).toMatchObject({
      persistentDisk: { sizeMiB: 16384 },
      vm: { cloudProperties: { instance_type: 'm1.medium', availability_zone: null }, env: { bosh: {} } },
      networks: {
        bosh: { type: 'dynamic', cloud_properties: { net_id: 'n1' } },
        vip: { type: 'vip', ip: '198.51.100.7', cloud_properties: { net_id: 'n1' } },
      },
      cloud: { sshTunnel: { host: '198.51.100.7', port: 22, user: 'vcap', privateKey: 'KEY' } },
      micro: { plugin: 'openstack', clientServicesIp: '198.51.100.7', agentServicesIp: '198.51.100.7' },
    });
    expect(warnings.map(({ message }) => message)).toEqual(['apply_spec.properties.loggregator is not used']);
  });

  it('takes an executable as the CPI in place of the plug-in, relative to the manifest', () => {
    const text = '{name: m, cloud: {plugin: vsphere, provider: {path: bin/cpi}, properties: {}}}';

    expect(translate(text).model.cloud).toMatchObject({
      plugin: 'vsphere',
      executable: expect.stringMatching(/^\/.*bin\/cpi$/) as string,
    });
  });

  it('keeps a registry on this machine out of the CPI options, and any other in', () => {
    const other = openstack.replace('localhost:25889', 'registry.example:25777');

    expect(translate(openstack, { files }).model.cloud.properties).not.toHaveProperty('registry');
    expect(translate(other, { files }).model.cloud.properties).toHaveProperty('registry');
  });

  it('names the private keys that are to be read, relative to the manifest and to home', () => {
    const root = parseMicroManifest(openstack, 'm');

    expect(microReferencedFiles(root, options)).toEqual(['/home/op/.ssh/micro.pem']);
    expect(() => translate(openstack)).toThrow('Reading private key from /home/op/.ssh/micro.pem');
  });

  it('calls the message bus at the address of the VM', () => {
    const text = (mbus: string) =>
      `{name: m, network: {ip: 10.0.0.5}, cloud: {plugin: vsphere, properties: {agent: {mbus: "${mbus}"}}}}`;

    expect(translate(text('https://vcap:b00tstrap@0.0.0.0:6868')).model.cloud.mbus).toBe(
      'https://vcap:b00tstrap@10.0.0.5:6868',
    );
    expect(translate('{name: m, cloud: {plugin: vsphere}}').model.cloud).not.toHaveProperty('mbus');
    expect(() => translate(text('https://0.0.0.0:6868'))).toThrow('must contain user and password');
  });

  it('takes the addresses of other agents from the deployment network', () => {
    const { model } = translate(
      '{name: m, network: {type: manual, ip: 10.0.0.5}, deployment_network: {ip: 10.1.0.5, type: manual, x: 1}, cloud: {plugin: vsphere}}',
    );

    expect(model.micro).toMatchObject({ clientServicesIp: '10.0.0.5', agentServicesIp: '10.1.0.5' });
    expect(model.networks['deployment']).toEqual({ ip: '10.1.0.5', type: 'manual', x: 1 });
  });

  it('joins lists with the defaults without repetition, and null replaces a default', () => {
    const { model } = translate(
      '{name: m, network: {dns: [a, b, a]}, cloud: {plugin: vsphere, properties: {agent: {ntp: ~}}}}',
    );

    expect(model.networks['bosh']?.dns).toEqual(['a', 'b']);
    expect(model.cloud.properties).toMatchObject({ agent: { ntp: null } });
  });

  it.each([
    ['{cloud: {plugin: aws}}', 'name must be provided'],
    ['{name: m}', 'cloud.plugin must be provided'],
    ['{name: m, cloud: {plugin: opnstack}}', "did you mean 'openstack'?"],
    ['{name: m, cloud: {plugin: aws}, network: ~}', 'network must be a map'],
    [
      '{name: m, cloud: {plugin: aws}, network: {type: static}}',
      "network.type must be 'dynamic' or 'manual'",
    ],
    [
      '{name: m, cloud: {plugin: aws}, resources: {persistent_disk: 0}}',
      'resources.persistent_disk must be > 0',
    ],
    ['{name: m, cloud: {plugin: aws}, resources: text}', 'Expected a map but found a single value'],
  ])('refuses %s', (text, wanted) => {
    expect(() => translate(text)).toThrow(ManifestInvalid);
    expect(() => translate(text)).toThrow(wanted);
  });

  it.each([
    ['name: m\ncloud:\n  plugin: aws\n', true],
    ['{name: m, cloud: {plugin: aws}}', true],
    ['name: m\ncloud_provider: {plugin: local}\ncloud: x\n', false],
    ['name: m\ninstance_groups: []\ntags:\n  cloud: x\n', false],
    ['name: m\nproperties:\n  cloud: x\n', false],
  ])('is told apart from a manifest for create-env: %j', (text, expected) => {
    expect(isMicroManifest(text)).toBe(expected);
  });

  it('takes the image that the command names before that of the manifest', () => {
    const { model } = translateMicroManifest(
      parseMicroManifest(
        '{name: m, cloud: {plugin: aws}, resources: {cloud_properties: {image_id: ami-1}}}',
        'm.yml',
      ),
      { file: 'm.yml', manifestDirectory: '/d', homeDirectory: '/h', image: 'ami-2' },
    );

    expect(model.micro?.imageId).toBe('ami-2');
    expect(model.stemcell.url).toBe('');
  });

  it('refuses duplicate keys, as the original does', () => {
    expect(() => parseMicroManifest('name: a\nname: b\n', 'm.yml')).toThrow(
      "m.yml:2:1: Map has the key 'name' twice",
    );
  });

  it('needs a stemcell or the id of an image', () => {
    const without = {
      file: options.file,
      manifestDirectory: options.manifestDirectory,
      homeDirectory: options.homeDirectory,
    };
    const root = (text: string) => parseMicroManifest(text, 'm.yml');

    expect(() => translateMicroManifest(root('{name: m, cloud: {plugin: aws}}'), without)).toThrow(
      'No stemcell is given',
    );
    expect(
      translateMicroManifest(
        root('{name: m, cloud: {plugin: aws}, resources: {cloud_properties: {image_id: ami-1}}}'),
        without,
      ).model.micro?.imageId,
    ).toBe('ami-1');
  });
});

/** Rows are reference micro-deployer §8.3 and §8.4. */
describe('the apply spec of a micro stemcell', () => {
  const spec = {
    deployment: 'micro',
    networks: { type: 'dynamic' },
    properties: {
      nats: { port: 4222 },
      blobstore: {},
      registry: {},
      dns: {},
      director: { db: 'x' },
      hm: { intervals: 1 },
      ntp: ['old'],
    },
  };

  it('gets addresses, the IaaS options and the overrides', () => {
    const { micro } = translate(openstack, { files }).model;
    if (micro === undefined) throw new Error('not a micro model');

    const adapted = adaptMicroApplySpec(spec, { name: 'micro-os', micro, agentServicesIp: '10.9.9.9' });

    expect(adapted).not.toHaveProperty('networks');
    expect(adapted['properties']).toMatchObject({
      director: { name: 'micro-os', address: '127.0.0.1', db: 'x' },
      agent: { blobstore: { address: '10.9.9.9' }, nats: { address: '198.51.100.7' } },
      nats: { address: '127.0.0.1', port: 4222 },
      blobstore: { address: '127.0.0.1' },
      registry: { address: '10.9.9.9' },
      dns: { address: '10.9.9.9' },
      hm: { intervals: 1, resurrector_enabled: true },
      ntp: ['a'],
      openstack: { auth_url: 'http://keystone:5000/v2.0', registry: { user: 'admin' }, stemcell: null },
    });
    expect(adapted['properties']).not.toHaveProperty('loggregator');
    expect(adapted['properties']).not.toHaveProperty('redis');
    expect(spec.networks).toEqual({ type: 'dynamic' });
  });

  it.each([
    ['vsphere', 'vcenters: [{host: vc}]', 'vcenter', { host: 'vc', address: 'vc' }],
    ['vcloud', 'vcds: [{url: "https://vcd"}]', 'vcd', { url: 'https://vcd', address: 'https://vcd' }],
  ])('names the %s endpoint address', (plugin, properties, key, wanted) => {
    const { micro } = translate(`{name: m, cloud: {plugin: ${plugin}, properties: {${properties}}}}`).model;
    if (micro === undefined) throw new Error('not a micro model');

    const adapted = adaptMicroApplySpec(spec, { name: 'm', micro, agentServicesIp: '10.0.0.1' });

    expect(adapted['properties']).toMatchObject({ [key]: wanted });
    expect(adapted).toHaveProperty('networks');
  });
});
