import type { JsonObject } from '@microbosh/errors';

/** Settings of a test machine with these persistent disks; `eph` is its ephemeral disk when it has one. */
export function machineSettings(
  cids: readonly string[],
  options: { readonly ephemeral?: boolean } = {},
): JsonObject {
  const hint = (cid: string) => ({ path: `/dev/disk/by-id/microbosh-${cid}` });
  return {
    agent_id: 'agent-1',
    mbus: 'https://mbus:secret@0.0.0.0:6868',
    networks: {
      default: {
        type: 'manual',
        ip: '10.77.0.2',
        netmask: '255.255.255.0',
        gateway: '10.77.0.1',
        dns: ['10.77.0.1'],
        preconfigured: true,
      },
    },
    disks: {
      ephemeral: options.ephemeral === true ? hint('eph') : null,
      persistent: Object.fromEntries(cids.map((cid) => [cid, hint(cid)])),
    },
    env: { bosh: { password: '$6$salt$hash', authorized_keys: ['ssh-ed25519 AAAA test'] } },
    ntp: [],
    blobstore: { provider: 'local', options: {} },
  };
}
