import { describe, expect, it } from 'vitest';
import { EventBus } from '../events/event-bus.ts';
import { StageRenderer, formatDuration } from './stage-renderer.ts';

function setUp(live = false, columns = 60) {
  let now = 0;
  let printed = '';
  const clock = { now: () => now };
  const bus = new EventBus(clock);
  const renderer = new StageRenderer({ write: (text) => (printed += text), live, columns });
  bus.subscribe(renderer.handle);
  return { bus, renderer, advance: (ms: number) => (now += ms), printed: () => printed };
}

describe('stage output', () => {
  it('prints stages and steps in the grammar of create-env', async () => {
    const { bus, renderer, advance, printed } = setUp();

    bus.message("Deployment manifest: '/w/bosh.yml'");
    bus.message("Deployment state: 'state.json'");
    await bus.stage('validating', async (stage) => {
      await stage.step("Downloading release 'bosh'", async (step) => step.skip('Found in local cache'));
      await stage.step('Validating cpi release', async () => void advance(1999));
    });
    await bus.step("Uploading stemcell 's/1'", async () => void advance(7000));
    await bus.stage('deploying', async (stage) => {
      await stage.step('Creating disk', async () => void advance(3_600_000));
    });
    await bus.step('Cleaning up rendered CPI jobs', async () => undefined);
    renderer.succeeded();

    expect(printed()).toBe(
      [
        "Deployment manifest: '/w/bosh.yml'",
        "Deployment state: 'state.json'",
        '',
        'Started validating',
        "  Downloading release 'bosh'... Skipped [Found in local cache] (00:00:00)",
        '  Validating cpi release... Finished (00:00:01)',
        'Finished validating (00:00:01)',
        '',
        "Uploading stemcell 's/1'... Finished (00:00:07)",
        '',
        'Started deploying',
        '  Creating disk... Finished (01:00:00)',
        'Finished deploying (01:00:00)',
        '',
        'Cleaning up rendered CPI jobs... Finished (00:00:00)',
        '',
        'Succeeded',
        '',
      ].join('\n'),
    );
  });

  it('marks a failed step and every stage around it, and passes the failure on', async () => {
    const { bus, printed } = setUp();

    const run = bus.stage('deploying', (stage) =>
      stage.step('Creating disk', async () => {
        throw new Error('no quota');
      }),
    );

    await expect(run).rejects.toThrow('no quota');
    expect(printed()).toBe(
      '\nStarted deploying\n  Creating disk... Failed (00:00:00)\nFailed deploying (00:00:00)\n',
    );
  });

  it('puts a blank line between a stage and the next step of the same level inside a stage', async () => {
    const { bus, printed } = setUp();

    await bus.stage('outer', async (outer) => {
      await outer.stage('inner', async () => undefined);
      await outer.step('Leaf', async () => undefined);
    });

    expect(printed()).toContain('  Finished inner (00:00:00)\n\n  Leaf... Finished');
  });

  it('repeats the name of a step when other steps were printed while it ran', async () => {
    const { bus, printed } = setUp();

    await bus.step('Long', async () => {
      await bus.step('Short', async () => undefined);
    });

    expect(printed()).toBe('Long...\nShort... Finished (00:00:00)\nLong... Finished (00:00:00)\n');
  });

  it('redraws the running step with its progress on a terminal, and never in a pipe', async () => {
    const terminal = setUp(true);
    const pipe = setUp(false);

    for (const { bus } of [terminal, pipe]) {
      await bus.step('Upload', async (step) => step.progress({ done: 5, total: 10, message: 'half way' }));
    }

    expect(terminal.printed()).toContain('\r\u001b[KUpload... half way, 50 %\r\u001b[KUpload... Finished');
    expect(pipe.printed()).toBe('Upload... Finished (00:00:00)\n');
  });

  it('shows bytes, the time that is left and the step of the plan on a terminal', async () => {
    const { bus, advance, printed } = setUp(true, 100);

    await bus.stage('deploying', async (stage) => {
      stage.progress({ done: 2, total: 9, unit: 'items' });
      await stage.step('Upload', async (step) => {
        step.progress({ done: 0, total: 40 << 20, unit: 'bytes' });
        advance(5_000);
        step.progress({ done: 10 << 20, total: 40 << 20, unit: 'bytes' });
      });
    });

    const lines = printed().split('\u001b[K');
    expect(lines.at(-2)?.trim()).toBe('Upload... 10.0 of 40.0 MiB, 25 %, 15 s left, 5 s, step 3 of 9');
  });

  it('goes on with the time of a step that reports nothing', async () => {
    const { bus, renderer, printed } = setUp(true);

    await bus.step('Wait', async () => renderer.tick(3_000));

    expect(printed()).toContain('Wait... 3 s');
  });

  it('is not silent in a pipe: what is waited for is told when it changes, every ten seconds at most', async () => {
    const { bus, advance, printed } = setUp();

    await bus.step('Waiting', async (step) => {
      step.progress({ message: 'refused' });
      advance(10_000);
      step.progress({ message: 'refused' });
      advance(10_000);
      step.progress({ message: 'refused' });
      advance(1_000);
      step.progress({ message: 'wrong name' });
      advance(9_000);
      step.progress({ message: 'wrong name' });
    });

    expect(printed()).toBe(
      'Waiting...\n  Waiting: refused\n  Waiting: wrong name\nWaiting... Finished (00:00:30)\n',
    );
  });
});

describe('formatDuration', () => {
  it.each([
    [0, '00:00:00'],
    [999, '00:00:00'],
    [69_000, '00:01:09'],
    [360_000_000, '100:00:00'],
  ])('prints %i ms as %s', (durationMs, expected) => {
    expect(formatDuration(durationMs)).toBe(expected);
  });
});
