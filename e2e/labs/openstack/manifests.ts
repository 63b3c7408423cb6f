import type { JsonObject } from '@microbosh/errors';
import type { OpenstackLab } from './contract.ts';

export interface Certificate {
  readonly certificate: string;
  readonly privateKey: string;
}

/** Addresses in the lab's private and external network. */
interface Addresses {
  readonly privateIp: string;
  readonly floatingIp: string;
}

/** A micro_bosh.yml for the OpenStack plug-in: JSON is YAML. */
export function microManifest(
  { cloud, properties }: OpenstackLab,
  { privateIp, floatingIp }: Addresses,
  wanted: {
    readonly certificate: Certificate;
    readonly password: string;
  },
) {
  const { certificate, privateKey } = wanted.certificate;
  return {
    name: 'lab-micro',
    network: {
      type: 'manual',
      ip: privateIp,
      netmask: '255.255.255.0',
      gateway: '10.77.0.1',
      dns: ['10.77.0.1'],
      vip: floatingIp,
      cloud_properties: { net_id: cloud.setting('LAB_NETWORK_ID') },
    },
    resources: {
      persistent_disk: 1024,
      cloud_properties: { instance_type: 'm1.small', availability_zone: 'nova' },
    },
    cloud: {
      plugin: 'openstack',
      properties: { openstack: { ...properties, private_key: cloud.setting('LAB_KEY_FILE') } as JsonObject },
    },
    apply_spec: {
      properties: {
        registry: {
          username: 'admin',
          password: wanted.password,
          tls: { certificate, private_key: privateKey },
        },
      },
    },
    readiness: [{ url: `https://${floatingIp}:25777/readyz`, ca: certificate, timeout: 600 }],
  };
}

export function createEnvManifest(
  { cloud, properties }: OpenstackLab,
  { privateIp, floatingIp: address }: Addresses,
  { stemcell, release }: { readonly stemcell: string; readonly release: string },
): string {
  return `name: lab
releases:
- {name: microbosh-registry, url: "file://${release}"}
resource_pools:
- name: vms
  network: private
  stemcell: {url: "file://${stemcell}"}
  cloud_properties: {instance_type: m1.small, availability_zone: nova}
  env: {bosh: {password: '*'}}
disk_pools:
- {name: disks, disk_size: 1024}
networks:
- name: private
  type: manual
  subnets:
  - range: 10.77.0.0/24
    gateway: 10.77.0.1
    dns: [10.77.0.1]
    cloud_properties: {net_id: ${cloud.setting('LAB_NETWORK_ID')}}
- name: public
  type: vip
instance_groups:
- name: registry
  instances: 1
  resource_pool: vms
  persistent_disk_pool: disks
  networks:
  - {name: private, static_ips: [${privateIp}], default: [dns, gateway]}
  - {name: public, static_ips: [${address}]}
  jobs: [{name: registry, release: microbosh-registry}]
  properties:
    registry:
      username: admin
      password: ((registry_admin_password))
      tls:
        certificate: ((registry_tls.certificate))
        private_key: ((registry_tls.private_key))
cloud_provider:
  plugin: openstack
  mbus: https://mbus:lab-secret@${address}:6868
  properties:
    openstack: ${JSON.stringify(properties)}
readiness:
- url: https://${address}:25777/readyz
  ca: ((registry_tls.ca))
  timeout: 600
variables:
- {name: registry_admin_password, type: password}
- {name: registry_ca, type: certificate, options: {is_ca: true, common_name: registry-ca}}
- name: registry_tls
  type: certificate
  options: {ca: registry_ca, common_name: ${address}, alternative_names: [${address}]}
`;
}
