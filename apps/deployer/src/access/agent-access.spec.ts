import { X509Certificate } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { isJsonObject } from '@microbosh/errors';
import type { DeploymentModel } from '@microbosh/spec';
import { agentAccess, instanceAddress } from './agent-access.ts';
import type { AgentAccess } from './agent-access.ts';

const model: DeploymentModel = {
  name: 'd',
  source: 'create-env',
  releases: [],
  cloud: { kind: 'built-in', plugin: 'local', properties: {} },
  stemcell: { url: 'file:///s' },
  networks: { default: { type: 'manual', ip: '10.0.0.5', default: ['dns', 'gateway'] } },
  vm: { cloudProperties: {}, env: { bosh: { password: '*' } } },
  group: { name: 'g', jobs: [], properties: {} },
  properties: {},
  tags: {},
  updateWatchTimeMs: { min: 0, max: 1 },
  readiness: [],
  manifestSha: '',
};
const now = new Date('2026-01-01T00:00:00Z');

describe('access to the agent', () => {
  let generated: AgentAccess;

  beforeAll(async () => {
    generated = await agentAccess(model, '10.0.0.5', undefined, now);
  });

  it('is made for the address of the VM when the manifest gives none', () => {
    const certificate = new X509Certificate(generated.generated?.certificate ?? '');

    expect(certificate.checkIP('10.0.0.5')).toBe('10.0.0.5');
    expect(certificate.verify(new X509Certificate(generated.endpoint.ca).publicKey)).toBe(true);
    expect(generated.endpoint.mbus).toMatch(/^https:\/\/mbus:[0-9a-f]{48}@10\.0\.0\.5:6868$/);
    expect(generated.settingsMbus).toMatch(/@0\.0\.0\.0:6868$/);
  });

  it('reaches the VM in its env, beside what the manifest says', () => {
    const bosh = generated.env['bosh'];

    expect(bosh).toMatchObject({
      password: '*',
      mbus: { cert: { certificate: generated.generated?.certificate } },
    });
    expect(isJsonObject(bosh)).toBe(true);
  });

  it('stays the same in the next run', async () => {
    const again = await agentAccess(model, '10.0.0.5', generated.generated, now);

    expect(again).toEqual(generated);
  });

  it('is made anew for another address, with the same password', async () => {
    const moved = await agentAccess(model, '10.0.0.6', generated.generated, now);

    expect(moved.generated?.names).toEqual(['10.0.0.6']);
    expect(moved.generated?.password).toBe(generated.generated?.password);
  });

  it('refuses a certificate of the manifest that is for another address, before anything is made', async () => {
    const certificate = generated.generated?.certificate ?? '';
    const wrong: DeploymentModel = {
      ...model,
      cloud: { ...model.cloud, mbus: 'https://u:p@10.0.0.9:6868' },
      vm: {
        cloudProperties: {},
        env: { bosh: { mbus: { cert: { ca: generated.endpoint.ca, certificate } } } },
      },
    };

    await expect(agentAccess(wrong, '10.0.0.9', undefined, now)).rejects.toThrow(/is not for '10.0.0.9'/);
  });
});

describe('instanceAddress', () => {
  it('is the one of the default gateway among several networks', () => {
    const networks = {
      one: { type: 'manual', ip: '10.0.0.1' },
      two: { type: 'manual', ip: '10.0.1.1', default: ['gateway'] },
      three: { type: 'vip', ip: '1.2.3.4' },
    } as const;

    expect(instanceAddress(networks)).toBe('10.0.1.1');
  });
});
