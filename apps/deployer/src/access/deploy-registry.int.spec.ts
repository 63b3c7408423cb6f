import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { request } from 'node:https';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { errorCode } from '@microbosh/errors';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { environmentPaths } from '../state/environment-paths.ts';
import { StateStore } from '../state/state-store.ts';
import { startRegistry } from './deploy-registry.ts';
import type { DeployRegistry, RegistryAccess } from './deploy-registry.ts';
import { externalWitness } from './registry-witness.ts';

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

async function mint(access: RegistryAccess): Promise<string> {
  const { user, password, ca } = access;
  const answer = await new Promise<string>((resolve, reject) => {
    request(
      `${access.endpoint}/instances/vm-1/tokens`,
      { method: 'POST', auth: `${user}:${password}`, ca, agent: false },
      (response) => void text(response).then(resolve, reject),
    )
      .once('error', reject)
      .end('{}');
  });
  return (JSON.parse(answer) as { token: string }).token;
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

  it('tells whether the VM was there for its settings, and when, from its own record and from outside', async () => {
    const { registry, store } = await started('one');
    const { access } = registry;
    const outside = externalWitness(access, new Date(Date.now() - 1_000));
    // It counts an answer once it is sent, which the asker may know before.
    const both = async (own: RegExp, other: RegExp) => {
      await expect.poll(async () => registry.witness('vm-1'), { timeout: 10_000 }).toMatch(own);
      expect(await outside('vm-1')).toMatch(other);
    };

    expect(await registry.witness('vm-1')).toBeUndefined();
    expect(await outside('vm-1')).toContain('has no settings of this VM');
    await ask(registry);
    await both(/Nobody asked the registry at 127\.0\.0\.1/, /Nobody was given the settings/);
    await ask(registry, { user: 'vm-1', password: 'mbt_spent' }, 'GET');
    await both(/refused 1 requests .* the last at .* UTC from 127\.0\.0\.1/, /it refused 1 requests/);
    const token = await mint(access);
    expect(await ask(registry, { user: 'vm-1', password: token }, 'GET')).toBe(200);
    await both(
      /read its settings from the registry, last at .* from 127\.0\.0\.1/,
      /read its settings .* last at/,
    );

    const log = await readFile(store.paths.registryLog, 'utf8');
    expect(log).toContain('"route":"/instances/:id/settings","instanceId":"vm-1","status":401');
    for (const secret of [access.password, token]) expect(log).not.toContain(secret);
  });

  it('is not asked where it is none of ours', async () => {
    const stranger = createHttpServer((_request, response) => response.end('{}')).listen(0, '127.0.0.1');
    await once(stranger, 'listening');
    cleanups.push(() => stranger.close());
    const endpoint = `http://127.0.0.1:${(stranger.address() as AddressInfo).port}`;

    expect(await externalWitness({ endpoint, user: 'a', password: 'b' }, new Date())('vm-1')).toBeUndefined();
  });
});
