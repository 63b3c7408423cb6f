import { describe, expect, it } from 'vitest';
import { evaluateManifest } from './evaluate-manifest.ts';
import { translateCreateEnvManifest } from './manifest/translate-create-env.ts';
import { applyOpsFile, parseOpsFile } from './ops/ops-file.ts';
import { directorInput, filledDirectorStore } from '../test/support/director.ts';
import { testdata } from '../test/support/golden.ts';
import { emitYaml } from './yaml/emit-yaml.ts';
import { parseYaml } from './yaml/parse-yaml.ts';

const input = directorInput();
const varsStore = {
  file: 'creds.yml',
  load: () => Promise.resolve(filledDirectorStore()),
  save: () => Promise.reject(new Error('nothing is to be generated')),
};

describe('a manifest of the size of a full director', () => {
  it('is as large as it claims to be', () => {
    expect(input.text.split('\n').length).toBeGreaterThan(1500);
    expect(input.ops?.length).toBeGreaterThanOrEqual(25);
    expect(input.text.match(/type: (?:certificate|password|ssh|rsa|user)\b/g)?.length).toBeGreaterThanOrEqual(
      60,
    );
  });

  it('is byte for byte what yaml.v2 and go-patch make of it after all ops files', () => {
    let root = parseYaml(input.text, { file: input.file });
    for (const { text, file } of input.ops ?? []) root = applyOpsFile(root, parseOpsFile(text, file));

    expect(emitYaml(root)).toBe(testdata('director/after-ops.golden.yml'));
  });

  it('is interpolated completely from a filled vars-store', async () => {
    const manifest = await evaluateManifest({ ...input, varsStore, requireUsed: true });

    expect(manifest.generated).toEqual([]);
    expect(manifest.missing).toEqual([]);
    expect(manifest.text).not.toMatch(/\(\([a-z_]+(\.[a-z]+)?\)\)/);
    expect(manifest.text).toContain('full-director-key: ');
    expect(manifest.text).toMatch(/^variables: \[\]$/m);
  });

  it('passes validation and becomes a deployment model', async () => {
    const manifest = await evaluateManifest({ ...input, varsStore });
    const { model, warnings } = translateCreateEnvManifest(manifest, {
      file: 'manifest.yml',
      manifestDirectory: '/deploy',
      homeDirectory: '/home/op',
    });

    expect(warnings).toEqual([]);
    expect(model).toMatchObject({
      name: 'full-director',
      source: 'create-env',
      cloud: {
        kind: 'built-in',
        plugin: 'local',
        mbus: 'https://mbus:mbus_bootstrap_password-value@10.0.0.6:6868',
      },
      stemcell: { url: 'file:///deploy/stemcell.tgz' },
      persistentDisk: { sizeMiB: 65536 },
      tags: { owner: 'operations', 'cost-center': '0042' },
      networks: {
        default: { ip: '10.0.0.6', default: ['dns', 'gateway'] },
        public: { type: 'vip', ip: '198.51.100.7' },
      },
    });
    expect(model.group.jobs).toHaveLength(12);
  });
});
