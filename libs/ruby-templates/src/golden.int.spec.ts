import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '@microbosh/errors';
import type { TemplateContext } from './evaluation-context.ts';
import { TemplatesFailed } from './failures.ts';
import { startRenderer, type TemplateRenderer } from './renderer.ts';

interface GoldenCase {
  readonly name: string;
  readonly template: string;
  readonly job?: JsonObject;
  readonly defaults?: JsonObject;
  readonly output?: string;
  readonly error?: string;
  /** Ruby's own wording changed after the version that made the file. */
  readonly errorIsPrefix?: boolean;
}

interface GoldenFile {
  readonly global: JsonObject;
  readonly cluster: JsonObject;
  readonly defaults: JsonObject;
  readonly cases: readonly GoldenCase[];
}

// Made by create-env's own renderer, with the Ruby of a Debian machine.
const golden = JSON.parse(
  readFileSync(new URL('./testdata/create-env-renderer.json', import.meta.url), 'utf8'),
) as GoldenFile;

/** Ruby 3.4 shows a map as `{"a" => 1}`; before it was `{"a"=>1}`. */
const oldInspect = (text: string) => text.replaceAll('" => ', '"=>');

describe('templates render as create-env renders them', () => {
  let renderer: TemplateRenderer;
  beforeAll(async () => {
    renderer = await startRenderer();
  });
  afterAll(async () => renderer.close());

  it.each(golden.cases)('$name', async ({ template, job, defaults, output, error, errorIsPrefix }) => {
    const declared = defaults ?? golden.defaults;
    const context: TemplateContext = {
      job: 'web',
      defaults: declared,
      layers: [],
      linkValues: [],
      unresolvedLinks: [],
      document: {
        index: 0,
        id: 'the-id',
        az: 'unknown',
        bootstrap: true,
        job: { name: 'web' },
        deployment: 'dep',
        address: '10.0.0.6',
        networks: { default: { ip: '', netmask: '', gateway: '' } },
        global_properties: golden.global,
        cluster_properties: golden.cluster,
        job_properties: job ?? null,
        default_properties: declared,
        links: {},
      },
    };

    const rendered = renderer.render([{ context, template, path: 't.erb' }]);

    if (error === undefined) {
      const [content] = await rendered;
      expect(oldInspect(content?.toString() ?? '')).toBe(oldInspect(output ?? ''));
      return;
    }
    const failure: unknown = await rendered.catch((thrown: unknown) => thrown);
    expect(failure).toBeInstanceOf(TemplatesFailed);
    const message = failure instanceof TemplatesFailed ? failure.message : '';
    const comparable = errorIsPrefix === true ? message.slice(0, error.length) : message;
    expect(comparable).toBe(error);
  });
});
