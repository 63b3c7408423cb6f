import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Simulation } from './simulation.ts';

let simulation: Simulation;

beforeEach(async () => {
  simulation = await Simulation.create();
  await simulation.wish({});
});
afterEach(async () => simulation.close());

/** What differs from run to run. */
function normalised(text: string): string {
  return text
    .replaceAll(simulation.directory, '<folder>')
    .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '<uuid>')
    .replaceAll(/\(\d\d:\d\d:\d\d\)/g, '(00:00:00)')
    .replaceAll(/"time":"[^"]+"/g, '"time":"<time>"')
    .replaceAll(/"durationMs":\d+/g, '"durationMs":0')
    .replaceAll(/kept until \S+/g, 'kept until <time>')
    .replaceAll(/"kept_until":"[^"]+"/g, '"kept_until":"<time>"');
}

/** The output of create-env is an interface: scripts read it. */
describe.each([
  { form: 'plain', json: false, extension: 'txt' },
  { form: 'JSON', json: true, extension: 'jsonl' },
])('the transcript of a deploy, $form', ({ json, extension }) => {
  it('is the recorded one for success, update, migration and skip', async () => {
    const parts: string[] = [];
    for (const [name, wish] of [
      ['first deploy', {}],
      ['nothing to do', {}],
      ['update', { job: '2' }],
      ['larger disk', { diskMiB: 2048, oldDisk: '1d' }],
      ['new VM beside the old one', { address: '10.0.0.6' }],
      ['new VM at the same address', { stemcell: '2' }],
    ] as const) {
      await simulation.wish(wish);
      const { output, exitCode } = await simulation.here('create', { json });
      expect(exitCode, output).toBe(0);
      parts.push(`=== ${name}\n${output}`);
    }
    parts.push(`=== delete\n${(await simulation.here('delete', { json })).output}`);
    await expect(normalised(parts.join('\n'))).toMatchFileSnapshot(`golden/success.${extension}`);
  });

  it('is the recorded one for a failure at each step', async () => {
    const reset = await simulation.snapshot();
    expect((await simulation.here('create')).exitCode).toBe(0);
    const methods = [...simulation.cloud.log];
    const parts: string[] = [];
    for (const [index, method] of methods.entries()) {
      await reset();
      const misbehaviour = { at: index + 1, kind: 'error' } as const;
      const { output, exitCode } = await simulation.here('create', { misbehaviour, json });
      expect(exitCode, output).toBe(1);
      parts.push(`=== ${index + 1}: error at ${method}\n${output}\n`);
    }
    await expect(normalised(parts.join('\n'))).toMatchFileSnapshot(`golden/failures.${extension}`);
  });
});
