import { chmod, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openRelease, type OpenedRelease } from '@microbosh/artifacts';
import { contractChecks, ProcessCpi, runChecks } from '@microbosh/cpi';
import { NodeCommandRunner, SecretRegister } from '@microbosh/host';
import { startRenderer, type TemplateRenderer } from '@microbosh/ruby-templates';
import { parseYaml, propertyLocator } from '@microbosh/spec';
import { buildMemoryCpiRelease } from '../testing/memory-cpi-release.ts';
import { CpiJobAmbiguous, installCpi, type CpiInstallInput, type CpiInstallTools } from './install-cpi.ts';

const runner = new NodeCommandRunner();

let directory: string;
let renderer: TemplateRenderer;
let release: OpenedRelease;
const stages: string[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'microbosh-cpi-install-'));
  renderer = await startRenderer({ workers: 1 });
  release = await openRelease(await buildMemoryCpiRelease(directory), { workDir: join(directory, 'opened') });
});
afterAll(async () => {
  await renderer.close();
  await rm(directory, { recursive: true, force: true });
});

function inputOf(name: string): CpiInstallInput {
  return {
    deployment: name,
    installationId: `installation-${name}`,
    cloud: {
      properties: { memory: { state: join(directory, `${name}.json`), password: 'correct-horse-battery' } },
      templates: [{ name: 'memory_cpi', release: 'memory-cpi-release' }],
    },
    releases: new Map([['memory-cpi-release', release]]),
  };
}

function tools(cache = 'cache'): CpiInstallTools {
  return {
    cacheDirectory: join(directory, cache),
    runner,
    renderer,
    secrets: new SecretRegister(),
    stage: async (name, work) => {
      stages.push(name);
      return work();
    },
  };
}

describe('a CPI release in another language', () => {
  it('is compiled, rendered and passes the contract as a process', async () => {
    const cpi = await installCpi(inputOf('first'), tools());

    const results = await runChecks(
      contractChecks(new ProcessCpi({ executable: cpi.executable, env: cpi.env }), {
        imagePath: '/image',
        stemcellCloudProperties: null,
        vmCloudProperties: {},
        networks: { default: { type: 'manual', ip: '10.0.0.5' } },
        diskCloudProperties: {},
        diskSizeMiB: 64,
        knowsTokens: false,
        absent: { vm: 'vm-0', disk: 'disk-0', stemcell: 'stemcell-0' },
      }),
    );
    const place = await readFile(
      join(cpi.env['BOSH_PACKAGES_DIR'] ?? '', 'memory_cpi/place-of-base'),
      'utf8',
    );
    await cpi.cleanUp();

    expect(results.filter(({ failure }) => failure !== undefined)).toEqual([]);
    // Compiled where it runs.
    expect(place.trim()).toBe(join(cpi.env['BOSH_PACKAGES_DIR'] ?? '', 'base'));
    expect(await readdir(join(directory, 'cache/rendered'))).toEqual([]);
  });

  it('is compiled once for all environments', async () => {
    await (await installCpi(inputOf('one'), tools())).cleanUp();
    stages.length = 0;

    const second = await installCpi(inputOf('two'), tools());
    await second.cleanUp();

    expect(stages).toEqual(['Rendering job templates', "Installing job 'memory_cpi'"]);
  });

  it('that does not compile is told with the end of its output, and compiles once the cause is gone', async () => {
    const broken = join(directory, 'no-tar');
    await mkdir(broken);
    await writeFile(join(broken, 'chmod'), '#!/bin/sh\necho no chmod here >&2\nexit 1\n');
    await chmod(join(broken, 'chmod'), 0o755);
    const path = process.env['PATH'];

    process.env['PATH'] = `${broken}:${path}`;
    const failure = installCpi(inputOf('broken'), tools('cache-2'));
    await expect(failure).rejects.toThrow(/'memory_cpi' of the CPI does not compile[^]*no chmod here/);
    process.env['PATH'] = path;
    stages.length = 0;
    await (await installCpi(inputOf('broken'), tools('cache-2'))).cleanUp();

    expect(stages).toContain('Installing packages');
  });

  it('says where the manifest could set a property that a template misses', async () => {
    const input = inputOf('unset');
    const manifest = 'name: m\ncloud_provider:\n  properties:\n    memory: {other: x}\n';
    const locate = propertyLocator(parseYaml(manifest, { file: 'm.yml' }));

    await expect(
      installCpi(
        { ...input, cloud: { ...input.cloud, properties: { memory: { other: 'x' } }, locate } },
        tools(),
      ),
    ).rejects.toMatchObject({
      code: 'E_TEMPLATE_FAILED',
      advice: expect.stringContaining("cloud_provider.properties near 'memory' (m.yml:4:5)") as string,
    });
  });

  it('is refused when the manifest names no job with a CPI', async () => {
    const input = inputOf('none');

    await expect(
      installCpi({ ...input, cloud: { ...input.cloud, templates: [] } }, tools('cache-3')),
    ).rejects.toBeInstanceOf(CpiJobAmbiguous);
  });
});
