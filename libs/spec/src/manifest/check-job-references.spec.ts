import { describe, expect, it } from 'vitest';
import { evaluateManifest } from '../evaluate-manifest.ts';
import { checkJobReferences } from './check-job-references.ts';
import { translateCreateEnvManifest } from './translate-create-env.ts';

describe('jobs of a group', () => {
  it('must be in the release that they name', async () => {
    const text = `{name: d, releases: [{name: a, url: "file:///a"}], cloud_provider: {plugin: local},
      networks: [{name: n, type: dynamic}], resource_pools: [{name: p, network: n, stemcell: {url: "file:///s"}}],
      jobs: [{name: g, instances: 1, resource_pool: p, networks: [{name: n}], templates: [{name: one, release: a}, {name: tow, release: a}]}]}`;
    const { model } = translateCreateEnvManifest(await evaluateManifest({ text, file: 'm' }), {
      file: 'm',
      manifestDirectory: '/',
      homeDirectory: '/',
    });

    expect(checkJobReferences(model, [{ name: 'a', jobs: [{ name: 'one' }, { name: 'two' }] }])).toEqual([
      "jobs[0].templates[1] must refer to a job in 'a', but there is no job named 'tow', did you mean 'two'?",
    ]);
  });
});
