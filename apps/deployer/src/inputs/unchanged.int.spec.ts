import { once } from 'node:events';
import { mkdtemp, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { createServer as createPlainServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import type { Server } from 'node:tls';
import { generateCertificate } from '@microbosh/spec';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { environmentPaths } from '../state/environment-paths.ts';
import type { EnvironmentPaths } from '../state/environment-paths.ts';
import { StateStore } from '../state/state-store.ts';
import { isUnchanged } from './unchanged.ts';

let folder: string;
let tarball: string;
let paths: EnvironmentPaths;
let store: StateStore;
let agent: Server;
let pair: Awaited<ReturnType<typeof generateCertificate>>;

beforeAll(async () => {
  const options = {
    commonName: 'agent',
    organization: 'test',
    alternativeNames: [],
    isCa: true,
    ca: undefined,
    extendedKeyUsage: [],
    keyUsage: ['key_cert_sign', 'digital_signature'] as const,
    durationDays: 1,
    keyLength: 2048,
  };
  pair = await generateCertificate(options, undefined, new Date());
});

const portOf = (server: { address(): AddressInfo | string | null }) => (server.address() as AddressInfo).port;

/** What a deploy that went through has left. */
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'unchanged-'));
  tarball = join(folder, 'release.tgz');
  await writeFile(tarball, 'content');
  agent = createServer({ cert: pair.certificate, key: pair.private_key }).listen(0, '127.0.0.1');
  await once(agent, 'listening');
  const { size, mtimeNs, ino } = await stat(tarball, { bigint: true });
  paths = environmentPaths(join(folder, 'm.yml'), undefined, folder);
  store = await StateStore.open(paths);
  await store.update({
    current_manifest_sha: 'sha-1',
    current_vm_cid: 'vm-1',
    own: {
      deployed: 'digest',
      endpoint: { mbus: `https://u:p@127.0.0.1:${portOf(agent)}`, ca: pair.certificate },
      artifacts: [
        {
          url: 'file:///release.tgz',
          sha1: '',
          path: tarball,
          size: Number(size),
          modified_ns: String(mtimeNs),
          inode: String(ino),
          digest: 'sha256:x',
        },
      ],
    },
  });
});
afterEach(async () => {
  agent.close();
  await rm(folder, { recursive: true });
});

describe('a deployment is unchanged', () => {
  it('with the manifest and the files of the last deploy', async () => {
    expect(await isUnchanged(paths, 'sha-1')).toBe(true);
  });

  it.each([
    ['with another manifest', async () => 'sha-2'],
    [
      'with a tarball of the same version and size that was built again',
      async () => {
        await writeFile(join(folder, 'new'), 'CONTENT');
        await rename(join(folder, 'new'), tarball);
      },
    ],
    ['with a tarball that was written in place', async () => utimes(tarball, new Date(), new Date(1e12))],
    ['with a tarball that is gone', async () => rm(tarball)],
    ['after a deploy that did not go through', async () => store.update({ own: { deployed: undefined } })],
    ['with a VM that is to be deleted', async () => store.update({ own: { leftover_vms: ['vm-0'] } })],
    [
      'with a disk whose time is over',
      async () => store.update({ own: { kept_until: { 'disk-1': '2020-01-01T00:00:00Z' } } }),
    ],
    ['with a change that was begun and not ended', async () => writeFile(paths.journal, '{"phase"')],
    ['with an agent that does not listen', async () => agent.close()],
    [
      'where a network takes connections for an agent that is gone',
      async () => {
        const network = createPlainServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
        await once(network, 'listening');
        network.unref();
        const mbus = `https://u:p@127.0.0.1:${portOf(network)}`;
        await store.update({ own: { endpoint: { mbus, ca: pair.certificate } } });
      },
    ],
    ['with a state file that is damaged', async () => writeFile(paths.state, '{')],
  ])('but not %s', async (_what, change) => {
    const sha = await change();

    expect(await isUnchanged(paths, typeof sha === 'string' ? sha : 'sha-1')).toBe(false);
  });
});
