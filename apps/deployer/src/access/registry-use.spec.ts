import { describe, expect, it } from 'vitest';
import type { DeploymentModel } from '@microbosh/spec';
import { checkUnreachable, usesRegistry, withoutRegistry } from './registry-use.ts';

type Cloud = DeploymentModel['cloud'];
const builtIn: Cloud = { kind: 'built-in', plugin: 'local', properties: { local: { root_dir: '/x' } } };
const plain: Cloud = { kind: 'release', templates: [], releases: [], properties: {} };
const named: Cloud = { ...plain, properties: { registry: { endpoint: 'https://r:25777' } } };
const tunnelled: Cloud = {
  ...plain,
  sshTunnel: { host: '10.0.0.9', port: 22, user: 'vcap', privateKey: '/k' },
};
const about = (more: Partial<Parameters<typeof usesRegistry>[0]>) =>
  usesRegistry({
    choice: 'unsaid',
    cloud: plain,
    stemcellApiVersion: 2,
    cpiApiVersion: 2,
    ...more,
  });

describe('usesRegistry', () => {
  it('does without where a manifest names a CPI release and no registry, and both sides are of version 2', () => {
    expect(about({})).toBe(false);
    expect(about({ stemcellApiVersion: 3 })).toBe(false);
  });

  it.each([
    ['a stemcell of version 1', { stemcellApiVersion: 1 }],
    ['a CPI of version 1', { cpiApiVersion: 1 }],
    ['a CPI of this program', { cloud: builtIn }],
    ['a registry in the manifest', { cloud: named }],
    ['a tunnel in the manifest', { cloud: tunnelled }],
    ['--registry', { choice: 'wanted' }],
  ] as const)('uses one for %s', (_what, more) => {
    expect(about(more)).toBe(true);
  });

  it('obeys --no-registry whatever the manifest says', () => {
    expect(about({ choice: 'unwanted', cloud: builtIn })).toBe(false);
    expect(about({ choice: 'unwanted', cloud: named })).toBe(false);
  });

  it.each([{ stemcellApiVersion: 1 }, { cpiApiVersion: 1 }])(
    'refuses --no-registry where nothing else could deliver the settings: %j',
    (versions) => {
      expect(() => about({ choice: 'unwanted', ...versions })).toThrow(/--no-registry needs/);
    },
  );

  it('leaves the other properties of the cloud', () => {
    expect(withoutRegistry({ ...named, properties: { ...named.properties, a: 1 } }).properties).toEqual({
      a: 1,
    });
  });
});

describe('checkUnreachable', () => {
  it('lets the settings be user data where nobody asks for a registry', () => {
    expect(() => checkUnreachable('unsaid')).not.toThrow();
  });

  it('refuses --registry: no VM would find one in this process', () => {
    expect(() => checkUnreachable('wanted')).toThrow(/^--registry: .* would not reach/);
  });
});
