import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { SettingsLoader } from './settings-loader.ts';
import type { SettingsSource } from './sources/settings-source.ts';

describe('settings that come from a registry', () => {
  /** A registry that is reached only through a tunnel which the key of the cloud opens. */
  async function loaded(options: {
    readonly patient: boolean;
    readonly key: () => Promise<string | undefined>;
  }) {
    const accepted: string[] = [];
    const acceptedWhenAsked: string[][] = [];
    const registry = createServer((_request, response) => {
      acceptedWhenAsked.push([...accepted]);
      response.end(
        JSON.stringify({ status: 'ok', settings: JSON.stringify({ agent_id: 'a', networks: {} }) }),
      );
    });
    registry.listen(0, '127.0.0.1');
    await once(registry, 'listening');
    const { port } = registry.address() as AddressInfo;
    const source: SettingsSource = {
      name: 'metadata',
      needsNetwork: true,
      read: async () => ({
        document: { registry: { endpoint: `http://127.0.0.1:${port}` }, server: { name: 'vm-1' } },
      }),
      readPublicKey: options.key,
    };
    const loader = new SettingsLoader({
      sources: [source],
      useRegistry: true,
      useServerName: true,
      prepareNetwork: async () => undefined,
      acceptKey: async (key) => void accepted.push(key),
    });
    try {
      const { settings } = await loader.load({ patient: options.patient });
      expect(settings.agent_id).toBe('a');
    } finally {
      registry.close();
    }
    return acceptedWhenAsked;
  }

  it('are asked for only after the key of the cloud lets someone in who opens a tunnel to it', async () => {
    expect(await loaded({ patient: true, key: async () => 'ssh-rsa AAAA' })).toEqual([['ssh-rsa AAAA']]);
  });

  it('are asked for without one where the cloud gives none, or does not say', async () => {
    expect(await loaded({ patient: true, key: async () => undefined })).toEqual([[]]);
    expect(await loaded({ patient: true, key: () => Promise.reject(new Error('no answer')) })).toEqual([[]]);
  });

  it('leave the keys alone once they have been there', async () => {
    expect(await loaded({ patient: false, key: async () => 'ssh-rsa AAAA' })).toEqual([[]]);
  });
});
