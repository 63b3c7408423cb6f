import { Type, type TSchema } from 'typebox';
import { FreeMap, Text, Whole, list, object } from './schema-builders.ts';

const network = object('The network of the VM.', {
  type: Text('dynamic or manual.'),
  ip: Text('IP address.'),
  netmask: Text('Netmask.'),
  gateway: Text('Gateway.'),
  dns: list('DNS servers.', Text('IP address.')),
  vip: Text('Floating, elastic or virtual address; becomes a second network.'),
  cloud_properties: FreeMap('Properties for the CPI.'),
});

const resources = object('Sizes.', {
  persistent_disk: Whole('Size of the persistent disk in MiB.'),
  persistent_disk_cloud_properties: FreeMap('Properties of the disk for the CPI.'),
  cloud_properties: FreeMap('Properties of the VM for the CPI; image_id is used when no stemcell is given.'),
});

const cloud = object('The cloud.', {
  plugin: Text('aws, openstack, vcloud, vsphere, local or qemu.'),
  provider: object('An external CPI.', { path: Text('Path of the executable.') }),
  properties: Type.Unsafe<object>({
    type: 'object',
    additionalProperties: true,
    description: 'Options of the CPI, and agent, registry, stemcell.',
  }),
});

const overrides = (description: string): TSchema => FreeMap(description);

/** `micro_bosh.yml` of the micro plug-in (reference micro-deployer §3.2), with our own keys `readiness` and `limits`. */
export const microManifestSchema: TSchema = object('Manifest of bosh micro (micro_bosh.yml).', {
  name: Text('Name of the deployment.'),
  dir: Text('Directory of the state file.'),
  logging: object('Logging of the original deployer.', { level: Text('Level.'), file: Text('Path.') }),
  network,
  deployment_network: FreeMap('A second network, passed on as it is.'),
  env: FreeMap('Environment for the agent.'),
  resources,
  cloud,
  apply_spec: object('Changes of the apply spec.', {
    agent: object('Addresses for the agents of other VMs.', {
      blobstore: overrides('Changes of properties.agent.blobstore.'),
      nats: overrides('Changes of properties.agent.nats.'),
    }),
    properties: FreeMap('Changes of properties.'),
  }),
  readiness: list(
    'Checks of the service.',
    object('An HTTP(S) check.', {
      url: Text('http:// or https:// URL.'),
      ca: Text('PEM trust anchor.'),
      expect_status: Whole('Default 200.'),
      timeout: Whole('Seconds, default 120.'),
    }),
  ),
  limits: FreeMap(
    'Time limits: agent, known_agent, cpi, task, drain, compile, copy, old_disk; 90s, 10m, 1d.',
  ),
});
