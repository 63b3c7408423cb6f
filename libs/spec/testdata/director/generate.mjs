// Writes manifest.yml, ops/*.yml and vars.yml: a made-up deployment of the size of a full director. The rules are
// written by hand; there is no randomness. after-ops.golden.yml comes from gopkg.in/yaml.v2 and go-patch:
//   node generate.mjs [ORACLE]     (see ../oracle)
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';

const here = import.meta.dirname;
const lines = [];
const out = (text) => lines.push(...text.replace(/^\n/, '').replace(/\n$/, '').split('\n'));
const range = (count) => Array.from({ length: count }, (_, index) => index + 1);
const services = ['nats', 'postgres', 'blobstore', 'director', 'scheduler', 'health', 'uaa', 'vault', 'metrics', 'router', 'audit', 'mail'];

out(`
# A deployment of the size of a full director. Written by generate.mjs.
name: ((director_name))

releases:`);
for (const service of services) {
  out(`
- name: ${service}
  version: "1.${service.length}"
  url: https://releases.example.com/${service}-1.${service.length}.tgz
  sha1: ${'0123456789abcdef0123456789abcdef01234567'.replace('7', String(service.length % 10))}`);
}
out(`

resource_pools:
- name: vms
  network: default
  env:
    bosh:
      password: '*'
      mbus:
        cert: ((mbus_bootstrap_ssl))
      ntp: &ntp [0.pool.example.com, 1.pool.example.com]
      blobstores:
      - provider: local
        options: {blobstore_path: /var/vcap/micro_bosh/data/cache}

disk_pools:
- name: disks
  disk_size: 65_536

networks:
- name: default
  type: manual
  subnets:
  - range: ((internal_cidr))
    gateway: ((internal_gw))
    static: [((internal_ip))]
    dns: [
      8.8.8.8
    ]

instance_groups:
- name: bosh
  instances: 1
  jobs:`);
for (const service of services) out(`  - {name: ${service}, release: ${service}}`);
out(`
  resource_pool: vms
  persistent_disk_pool: disks
  networks:
  - name: default
    static_ips: [((internal_ip))]
  properties:
    agent:
      mbus: nats://nats:((nats_password))@((internal_ip)):4222
      ntp: *ntp`);
for (const service of services) {
  out(`
    ${service}:
      address: ((internal_ip))
      port: ${4000 + service.length}
      enabled: yes
      debug: off
      mode: 0640
      ratio: 1.0
      interval: 1e3
      started: 2020-01-01
      window: 10:30
      nothing: ~
      name: ${service}-((director_name))
      ((director_name))-key: ${service}
      tls:
        ca: ((${service}_ca.certificate))
        certificate: ((${service}_server_tls.certificate))
        private_key: ((${service}_server_tls.private_key))
        client: ((${service}_client_tls))
      users:`);
  for (const index of range(4)) {
    out(`
      - name: ${service}-user-${index}
        password: ((${service}_password))
        scopes: [read.${index}, "write.${index}", 'admin #${index}']
        quota: {max: ${index * 100}, burst: 0x${(index * 16).toString(16)}, note: "tab\\t and ((not a reference))"}`);
  }
  out(`
      banner: |
        Welcome to ${service} of ((director_name)).
          Indented line: keep it.

        Last line.
      motto: >-
        a folded text for ${service}
        on two lines
      limits:`);
  for (const index of range(12)) {
    out(`
        limit_${index}:
          soft: ${index * 8}
          hard: ${index * 16}
          description: "Limit number ${index} of ${service}: a sentence that is long enough to be folded when it is written out again"`);
  }
  out(`
      routes:`);
  for (const index of range(8)) {
    out(`
      - path: /${service}/v${index}/*
        methods: [GET, POST]
        upstream: http://((internal_ip)):${5000 + index}
        headers:
          X-Request: "${index}:${index}"
          X-Empty: ""`);
  }
}
out(`

cloud_provider:
  plugin: local
  mbus: https://mbus:((mbus_bootstrap_password))@((internal_ip)):6868
  cert: ((mbus_bootstrap_ssl))
  properties:
    agent: {mbus: "https://mbus:((mbus_bootstrap_password))@0.0.0.0:6868"}
    ntp: *ntp

variables:
- {name: mbus_bootstrap_password, type: password}
- {name: default_ca, type: certificate, options: {is_ca: true, common_name: ca, key_length: 2048}}
- name: mbus_bootstrap_ssl
  type: certificate
  options:
    ca: default_ca
    common_name: ((internal_ip))
    alternative_names: [((internal_ip))]
    key_length: 2048
- {name: jumpbox_ssh, type: ssh}
- {name: backup_ssh, type: ssh}
- {name: uaa_jwt_signing_key, type: rsa}
- {name: token_key, type: rsa}
- {name: first_operator, type: user, options: {username: operator}}
- {name: documented_only}`);
for (const service of services) {
  out(`
- {name: ${service}_password, type: password, options: {length: ${20 + service.length}}}
- {name: ${service}_admin_password, type: password}
- {name: ${service}_ca, type: certificate, options: {is_ca: true, common_name: ${service} CA, key_length: 2048}}
- name: ${service}_server_tls
  type: certificate
  options:
    ca: ${service}_ca
    common_name: ${service}.internal
    alternative_names: [((internal_ip)), "*.${service}.internal"]
    extended_key_usage: [server_auth, client_auth]
    key_length: 2048
- name: ${service}_client_tls
  type: certificate
  options: {ca: ${service}_ca, common_name: ${service} client, extended_key_usage: [client_auth], duration: 30, key_length: 2048}`);
}
writeFileSync(`${here}/manifest.yml`, `${lines.join('\n')}\n`);

mkdirSync(`${here}/ops`, { recursive: true });
const op = (name, text) => writeFileSync(`${here}/ops/${name}.yml`, text.replace(/^\n/, ''));
op('00-stemcell', `
- type: replace
  path: /resource_pools/name=vms/stemcell?
  value:
    url: file://stemcell.tgz
    sha1: sha256:${'a'.repeat(64)}
- type: replace
  path: /resource_pools/name=vms/cloud_properties?
  value: {instance_type: ((vm_type)), "((zone))": true}
`);
op('01-tags', `
- {type: replace, path: "/tags?/owner", value: operations}
- {type: replace, path: "/tags?/cost-center", value: "0042"}
`);
op('02-vip', `
- type: replace
  path: /networks/-
  value: {name: public, type: vip}
- type: replace
  path: /instance_groups/name=bosh/networks/0/default?
  value: [dns, gateway]
- type: replace
  path: /instance_groups/name=bosh/networks/-
  value: {name: public, static_ips: [((external_ip))]}
`);
op('03-dotted', `
- {type: replace, path: /instance_groups/name=bosh/properties/director/routes/0:before, value: {path: /first, methods: []}}
- {type: replace, path: /instance_groups/name=bosh/properties/director/routes/-1:after, value: {path: /last, methods: []}}
- {type: remove, path: /instance_groups/name=bosh/properties/director/routes/1:next}
- {type: test, path: /instance_groups/name=bosh/properties/director/port, value: 4008}
- {type: test, path: /instance_groups/name=bosh/properties/director/absent, absent: true}
`);
services.forEach((service, index) => {
  const base = `/instance_groups/name=bosh/properties/${service}`;
  op(`1${String.fromCharCode(97 + index)}-${service}`, `
- type: replace
  path: ${base}/limits/limit_${(index % 12) + 1}/hard
  value: ${index}_000
- type: replace
  path: ${base}/users/name=${service}-user-2/scopes/-
  value: ((${service}_admin_password))
- type: remove
  path: ${base}/users/name=${service}-user-4?
- type: replace
  path: ${base}/extra?/deep/list/-
  value: {when: 12:30, octal: 010, text: "yes"}
- type: replace
  path: ${base}/((director_name))-key
  value: "replaced: ((director_name))"
- {type: remove, path: ${base}/nothing}
- {type: remove, path: "${base}/never?/there"}
`);
  op(`2${String.fromCharCode(97 + index)}-${service}-routes`, `
- type: replace
  path: ${base}/routes/path=~1${service}~1v3~1*/headers?/X-Added
  value: "${index}"
- type: replace
  path: ${base}/routes/name=fallback?/upstream
  value: http://((internal_ip))
- type: replace
  path: ${base}/tls/client_ca?
  value: ((${service}_client_tls.ca))
`);
});
writeFileSync(`${here}/vars.yml`, `director_name: full-director
internal_ip: 10.0.0.6
internal_cidr: 10.0.0.0/24
internal_gw: 10.0.0.1
external_ip: 198.51.100.7
vm_type: large
zone: z1
documented_only: something
`);

const oracle = process.argv[2];
if (oracle !== undefined) {
  const ops = readdirSync(`${here}/ops`).sort().map((name) => readFileSync(`${here}/ops/${name}`, 'utf8')).join('');
  const request = JSON.stringify({ doc: readFileSync(`${here}/manifest.yml`, 'utf8'), ops });
  const { stdout } = spawnSync(oracle, { input: `${request}\n`, encoding: 'utf8', maxBuffer: 1 << 28 });
  const { emitted, error } = JSON.parse(stdout);
  if (error !== undefined) throw new Error(error);
  writeFileSync(`${here}/after-ops.golden.yml`, emitted);
}
