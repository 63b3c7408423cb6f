import type { TSchema } from 'typebox';
import { FreeMap, Text, Unused, Whole, list, object } from './schema-builders.ts';

const templateReference = (): TSchema =>
  object('A job of a release.', {
    name: Text('Name of the job.'),
    release: Text('Name of the release that contains it.'),
  });

const groupJob = object('A release job that runs on the VM.', {
  name: Text('Name of the job in the release.'),
  release: Text('Name of the release.'),
  properties: FreeMap('Properties of this job. When given, group and global properties do not count for it.'),
  consumes: FreeMap(
    'Links by name: from (name of a link in this group), nil, or by hand: instances, properties, address.',
  ),
  provides: FreeMap('Links by name: as (another name), or nil.'),
  custom_provider_definitions: list(
    'Links that the job provides beside those of its spec.',
    object('A link.', {
      name: Text('Name.'),
      type: Text('Type.'),
      properties: list('Properties of the job that it shares.', Text('Dotted name.')),
    }),
  ),
});

const groupNetwork = object('A network of the VM.', {
  name: Text('Name of a network.'),
  static_ips: list('Addresses; the first one is used.', Text('IP address.')),
  default: list('What this network is the default for.', Text('dns or gateway.')),
});

const instanceGroup = object('The one VM.', {
  name: Text('Name of the instance group.'),
  instances: Whole('Must be 1.'),
  lifecycle: Text('service, or nothing.'),
  jobs: list('Release jobs to run.', groupJob),
  templates: list('Old name of jobs.', groupJob),
  properties: FreeMap('Middle property layer.'),
  resource_pool: Text('Name of a resource pool.'),
  networks: list('Networks of the VM.', groupNetwork),
  persistent_disk_pool: Text('Name of a disk pool.'),
  persistent_disk: Whole('Size in MiB; a disk pool wins over it.'),
  azs: Unused(),
  vm_type: Unused(),
  vm_extensions: Unused(),
  vm_resources: Unused(),
  stemcell: Unused(),
  env: Unused(),
  update: Unused(),
  migrated_from: Unused(),
  persistent_disk_type: Unused(),
});

const subnet = object('A subnet of a manual network.', {
  range: Text('CIDR range, 10.0.0.0/24.'),
  gateway: Text('IP address of the gateway.'),
  dns: list('DNS servers.', Text('IP address.')),
  cloud_properties: FreeMap('Properties for the CPI.'),
  static: Unused(),
  reserved: Unused(),
  az: Unused(),
  azs: Unused(),
});

const network = object('A network.', {
  name: Text('Name of the network.'),
  type: Text('manual, dynamic or vip.'),
  subnets: list('Exactly one, for manual networks.', subnet),
  dns: list('DNS servers of a dynamic network.', Text('IP address.')),
  cloud_properties: FreeMap('Properties for the CPI (dynamic and vip networks).'),
});

const release = object('A release.', {
  name: Text('Name, as inside the release.'),
  url: Text('file://, http:// or https:// URL of the tarball.'),
  sha1: Text('Digest string; required for http(s).'),
  version: Unused(),
  stemcell: Unused(),
  exported_from: Unused(),
});

const stemcell = object('The stemcell.', {
  url: Text('file://, http:// or https:// URL of the tarball.'),
  sha1: Text('Digest string; required for http(s).'),
});

const resourcePool = object('How the VM is made.', {
  name: Text('Name of the resource pool.'),
  network: Text('Name of a network.'),
  cloud_properties: FreeMap('Properties of the VM for the CPI.'),
  env: FreeMap('Environment for the agent.'),
  stemcell,
  size: Unused(),
});

const diskPool = object('How the persistent disk is made.', {
  name: Text('Name of the disk pool.'),
  disk_size: Whole('Size in MiB.'),
  cloud_properties: FreeMap('Properties of the disk for the CPI.'),
});

const cloudProvider = object('The CPI and how to reach the agent.', {
  plugin: Text('A built-in CPI: local, qemu, openstack, aws, vsphere or vcloud. Instead of template(s).'),
  template: templateReference(),
  templates: list('CPI jobs; wins over template.', templateReference()),
  mbus: Text('https://user:password@host:6868'),
  cert: object('TLS of the agent.', {
    ca: Text('PEM trust anchor for agent and blobstore.'),
    certificate: Unused(),
    private_key: Unused(),
  }),
  properties: FreeMap('Properties of the CPI job, or options of the built-in CPI.'),
  ssh_tunnel: object('SSH tunnel for a registry on this machine.', {
    host: Text('Address of the VM.'),
    port: Whole('SSH port.'),
    user: Text('User.'),
    password: Text('Password.'),
    private_key: Text('PEM text, or a path relative to the manifest.'),
  }),
});

const variable = object('A variable that can be generated.', {
  name: Text('Name.'),
  type: Text('certificate, password, ssh, rsa or user.'),
  options: FreeMap('Options of the type.'),
  update_mode: Unused(),
  consumes: Unused(),
});

const readiness = object('An HTTP(S) check of the service, made after the jobs run.', {
  url: Text('http:// or https:// URL.'),
  ca: Text('PEM trust anchor; default: the roots of the system.'),
  expect_status: Whole('Default 200.'),
  timeout: Whole('Seconds, default 120.'),
});

/** The create-env manifest with our own keys `cloud_provider.plugin`, `readiness` and `limits`. */
export const createEnvManifestSchema: TSchema = object('Manifest of a one-VM deployment (create-env).', {
  name: Text('Name of the deployment.'),
  releases: list('Releases.', release),
  cloud_provider: cloudProvider,
  networks: list('Networks.', network),
  resource_pools: list('Resource pools.', resourcePool),
  disk_pools: list('Disk pools.', diskPool),
  instance_groups: list('Exactly one instance group.', instanceGroup),
  jobs: list('Old name of instance_groups.', instanceGroup),
  properties: FreeMap('Lowest property layer.'),
  tags: FreeMap('Tags for the VM.'),
  update: object('How the deploy waits.', {
    update_watch_time: Text('min-max in milliseconds, default 0-300000. A single number is both.'),
    vm_strategy: Text('create-swap-delete (default) or delete-create: which VM goes first.'),
    disk_strategy: Text('copy (default) or resize: what becomes of a persistent disk that is to be larger.'),
    canaries: Unused(),
    max_in_flight: Unused(),
    canary_watch_time: Unused(),
    serial: Unused(),
  }),
  variables: list('Variables.', variable),
  readiness: list('Checks of the service.', readiness),
  limits: FreeMap(
    'Time limits: agent, known_agent, cpi, task, drain, compile, copy, old_disk; 90s, 10m, 1d.',
  ),
  stemcells: Unused(),
  addons: Unused(),
  features: Unused(),
  compilation: Unused(),
  director_uuid: Unused(),
});
