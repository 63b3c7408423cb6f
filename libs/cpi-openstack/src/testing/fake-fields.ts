import type { JsonObject } from '@microbosh/errors';

/** Fields that the real services give and the CPI does not read: with them the fake's answers have the real shapes. */

const tenant = 'project';
const time = '2026-01-01T00:00:00Z';
const microTime = '2026-01-01T00:00:00.000000';
const links = [{ rel: 'self', href: 'http://fake' }];

const owned = { tenant_id: tenant, project_id: tenant };
const revised = { ...owned, tags: [], created_at: time, updated_at: time, revision_number: 1 };

export const tokenFields = {
  methods: ['password'],
  user: { domain: { id: 'd', name: 'd' }, id: 'user', name: 'u', password_expires_at: null },
  audit_ids: ['audit'],
  issued_at: time,
  is_domain: false,
  roles: [{ id: 'role', name: 'member' }],
};

export const networkFields: JsonObject = {
  ...revised,
  admin_state_up: true,
  mtu: 1500,
  shared: false,
  availability_zone_hints: [],
  availability_zones: ['nova'],
  ipv4_address_scope: null,
  ipv6_address_scope: null,
  'router:external': false,
  description: '',
  port_security_enabled: true,
};

export const portFields: JsonObject = {
  ...revised,
  admin_state_up: true,
  extra_dhcp_opts: [],
  'binding:vnic_type': 'normal',
  port_security_enabled: true,
};

export const floatingIpFields: JsonObject = {
  ...revised,
  router_id: null,
  fixed_ip_address: null,
  description: '',
  port_details: null,
};

export const securityGroupFields: JsonObject = {
  ...revised,
  stateful: true,
  description: '',
  shared: false,
  security_group_rules: [],
};

export const flavorFields: JsonObject = { 'os-flavor-access:is_public': true, rxtx_factor: 1, links };

export const computeLimits: Readonly<Record<string, number>> = {
  maxServerMeta: 128,
  maxImageMeta: 128,
  maxPersonality: 5,
  maxPersonalitySize: 10_240,
  maxTotalKeypairs: 100,
  maxServerGroups: 10,
  maxServerGroupMembers: 10,
  maxTotalFloatingIps: -1,
  maxSecurityGroups: -1,
  maxSecurityGroupRules: -1,
  totalFloatingIpsUsed: 0,
  totalSecurityGroupsUsed: 0,
  totalServerGroupsUsed: 0,
};

export const volumeLimits: Readonly<Record<string, number>> = {
  maxTotalSnapshots: 10,
  maxTotalBackups: 10,
  maxTotalBackupGigabytes: 1000,
  totalSnapshotsUsed: 0,
  totalBackupsUsed: 0,
  totalBackupGigabytesUsed: 0,
};

export const imageFields: JsonObject = {
  size: null,
  virtual_size: null,
  checksum: null,
  protected: false,
  owner: tenant,
  os_hidden: false,
  os_hash_algo: null,
  os_hash_value: null,
  created_at: time,
  updated_at: time,
  self: '/v2/images/fake',
  file: '/v2/images/fake/file',
  schema: '/v2/schemas/image',
};

export const imageListFields: JsonObject = { first: '/v2/images', schema: '/v2/schemas/images' };

export const newServerFields: JsonObject = { links, 'OS-DCF:diskConfig': 'MANUAL' };

export const serverFields: JsonObject = {
  ...newServerFields,
  tenant_id: tenant,
  user_id: 'user',
  hostId: '',
  created: time,
  updated: time,
  accessIPv4: '',
  accessIPv6: '',
  'OS-SRV-USG:launched_at': null,
  'OS-SRV-USG:terminated_at': null,
  'OS-EXT-STS:task_state': null,
  'OS-EXT-STS:vm_state': 'active',
  'OS-EXT-STS:power_state': 1,
  'os-extended-volumes:volumes_attached': [],
};

export const newVolumeFields: JsonObject = {
  created_at: microTime,
  updated_at: null,
  volume_type: '__DEFAULT__',
  snapshot_id: null,
  source_volid: null,
  links,
  user_id: 'user',
  bootable: 'false',
  encrypted: false,
  replication_status: null,
  consistencygroup_id: null,
  multiattach: false,
};

export const volumeFields: JsonObject = { ...newVolumeFields, 'os-vol-tenant-attr:tenant_id': tenant };

export const attachmentFields: JsonObject = {
  attachment_id: 'attachment',
  host_name: null,
  attached_at: microTime,
};

export const newSnapshotFields: JsonObject = { created_at: microTime, updated_at: null, size: 1 };

export const snapshotFields: JsonObject = {
  ...newSnapshotFields,
  'os-extended-snapshot-attributes:project_id': tenant,
  'os-extended-snapshot-attributes:progress': '100%',
};
