import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:https';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorCode } from '@microbosh/errors';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { environmentPaths } from '../state/environment-paths.ts';
import { StateStore } from '../state/state-store.ts';
import { startRegistry } from './deploy-registry.ts';
import type { DeployRegistry } from './deploy-registry.ts';

let folder: string;
const cleanups: (() => unknown)[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'registry-'));
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
  await rm(folder, { recursive: true });
});

async function started(
  name: string,
): Promise<{ readonly registry: DeployRegistry; readonly store: StateStore }> {
  const store = await StateStore.open(environmentPaths(join(folder, `${name}.yml`), undefined, folder));
  const registry = await startRegistry(store, '127.0.0.1');
  let open = true;
  const close = async () => {
    if (open) await registry.close();
    open = false;
  };
  cleanups.push(close);
  return { registry: { ...registry, close }, store };
}

/** Status of a request for the settings of a VM, or the code of the error. */
async function ask(
  { access }: DeployRegistry,
  given: { readonly user?: string; readonly password?: string; readonly ca?: string } = {},
  method = 'PUT',
): Promise<number | string> {
  const { user, password, ca } = { ...access, ...given };
  return new Promise((resolve) => {
    const sent = request(
      `${access.endpoint}/instances/vm-1/settings`,
      { method, auth: `${user}:${password}`, ca, agent: false },
      (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      },
    );
    sent.once('error', (error) => resolve(errorCode(error) ?? error.message));
    sent.end(method === 'PUT' ? '{}' : undefined);
  });
}

describe('the registry of a deploy', () => {
  it('has credentials that nobody can guess, and others in every environment', async () => {
    const one = await started('one');
    const two = await started('two');

    expect(await ask(one.registry)).toBe(200);
    expect(await ask(one.registry, { user: 'admin', password: 'admin' })).toBe(401);
    expect(await ask(one.registry, two.registry.access)).not.toBe(200);
    expect(one.registry.access.password).toMatch(/^[0-9a-f]{48}$/);
    expect(one.registry.access.password).not.toBe(two.registry.access.password);
  });

  it('listens on the one address that the VM reaches', async () => {
    const { registry } = await started('one');

    const socket = connect(registry.port, '127.0.0.2');
    const [error] = (await once(socket, 'error')) as [Error];

    expect(errorCode(error)).toBe('ECONNREFUSED');
  });

  it('is told from any other server by its own authority', async () => {
    const one = await started('one');
    const two = await started('two');

    expect(await ask(two.registry, { ca: one.registry.access.ca })).toMatch(/^(UNABLE|DEPTH|SELF|CERT)/);
  });

  it('keeps its settings, address, credentials and authority from run to run', async () => {
    const first = await started('one');
    await ask(first.registry);
    await first.registry.close();
    const again = await started('one');

    expect(again.registry.access).toEqual(first.registry.access);
    expect(await ask(again.registry, {}, 'GET')).toBe(200);
  });

  it('takes another port when somebody else has its own, and remembers that', async () => {
    const first = await started('one');
    await first.registry.close();
    const thief = createServer().listen(first.registry.port, '127.0.0.1');
    await once(thief, 'listening');
    cleanups.push(() => thief.close());
    const again = await started('one');

    expect(again.registry.port).not.toBe((thief.address() as AddressInfo).port);
    expect(again.store.current.own.registry?.port).toBe(again.registry.port);
    expect(first.registry.movedFrom).toBeUndefined();
    expect(again.registry.movedFrom).toBe(`127.0.0.1:${first.registry.port}`);
    expect(await ask(again.registry)).toBe(200);
  });
});
