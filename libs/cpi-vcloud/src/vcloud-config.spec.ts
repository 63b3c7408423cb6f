import { describe, expect, it } from 'vitest';
import type { JsonObject } from '@microbosh/errors';
import { vcloudConfig } from './vcloud-config.ts';

const entities: JsonObject = {
  organization: 'o',
  virtual_datacenter: 'dc',
  vapp_catalog: 'c',
  media_catalog: 'c',
};
const vcd: JsonObject = { url: 'https://vcd.example.com/', user: 'u', password: 'secret', entities };
const read = (...vcds: JsonObject[]) => vcloudConfig({ cloud: { plugin: 'vcloud', properties: { vcds } } });

describe('configuration', () => {
  it('has the defaults of the original', () => {
    expect(read(vcd)).toEqual({
      url: 'https://vcd.example.com',
      user: 'u',
      password: 'secret',
      connection: {},
      organization: 'o',
      datacenter: 'dc',
      templateCatalog: 'c',
      mediaCatalog: 'c',
      mediaProfile: undefined,
      vmProfile: undefined,
      metadataKey: 'vcd-cf',
      description: 'vcd-cf',
      waitMaxMs: 300_000,
      waitDelayMs: 5000,
      retryDelayMs: 100,
      sessionMaxAgeMs: 600_000,
      oldTaskMs: 600_000,
    });
  });

  it('takes * for any storage profile, and null for nothing', () => {
    const wanted = { ...entities, media_storage_profile: '*', vapp_storage_profile: 'gold', control: null };

    expect(read({ ...vcd, entities: wanted })).toMatchObject({ mediaProfile: undefined, vmProfile: 'gold' });
  });

  it('is overlaid by the Director’s CPI configuration', () => {
    const properties = { vcds: [vcd], vcloud: { url: 'https://other' } };

    expect(vcloudConfig({ cloud: { plugin: 'vcloud', properties } }).url).toBe('https://other');
  });

  it.each([
    [[vcd, vcd], 'Invalid number of VCDs'],
    [[], 'vcds.0 '],
    [[{ ...vcd, entities: 'none' }], 'vcds.0.entities'],
    [[{ ...vcd, url: 'vcd.example.com' }], 'vcds.0.url'],
    [[{ ...vcd, entities: { ...entities, control: { wait_max: 0 } } }], 'vcds.0.entities.control.wait_max'],
  ] as [JsonObject[], string][])('refuses %j, without the password', (vcds, message) => {
    expect(() => read(...vcds)).toThrow(message);
    expect(() => read(...vcds)).not.toThrow('secret');
  });
});
