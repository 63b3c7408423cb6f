import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EventBus } from '../events/event-bus.ts';
import { eventLog } from './log-file.ts';
import type { EventLog } from './log-file.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'log-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function logged(
  env: Record<string, string>,
  before: (log: EventLog) => void = () => undefined,
): Promise<string> {
  let text = '';
  const events = new EventBus();
  const log = eventLog(
    env,
    (part) => (text += part),
    (part) => part.replaceAll('secret-1', '<redacted>'),
  );
  before(log);
  events.subscribe(log.handle);
  events.subscribeCalls(log.handle);
  events.message('manifest read');
  events.message('an unknown key', { level: 'warning' });
  await events
    .step('Creating VM', async (step) => {
      step.progress({ message: 'asked for secret-1' });
      await events.call('cpi', 'info', async () => undefined);
      await events.call('cpi', 'create_vm', () => Promise.reject(new Error('quota\nexceeded')));
    })
    .catch(() => undefined);
  return text.replaceAll(/\d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d/g, '<time>').replaceAll(/\d+ ms/g, 'n ms');
}

describe('BOSH_LOG_LEVEL', () => {
  it.each([{}, { BOSH_LOG_LEVEL: '' }, { BOSH_LOG_LEVEL: 'none' }])('logs nothing: %j', async (env) => {
    expect(await logged(env)).toBe('');
  });

  it('debug logs everything, without secrets, one line per event', async () => {
    expect(await logged({ BOSH_LOG_LEVEL: 'debug' })).toBe(
      [
        '[microbosh] <time> INFO - manifest read',
        '[microbosh] <time> WARN - an unknown key',
        '[microbosh] <time> INFO - Started Creating VM',
        '[microbosh] <time> DEBUG - Creating VM: asked for <redacted>',
        '[microbosh] <time> DEBUG - Call cpi info: done (n ms)',
        '[microbosh] <time> DEBUG - Call cpi create_vm: failed (n ms)',
        '[microbosh] <time> ERROR - Failed Creating VM (n ms): quota\\nexceeded',
        '',
      ].join('\n'),
    );
  });

  it('WARN, in any letter case, logs what is at least that', async () => {
    expect((await logged({ BOSH_LOG_LEVEL: 'WARN' })).match(/WARN|ERROR|INFO|DEBUG/g)).toEqual([
      'WARN',
      'ERROR',
    ]);
  });

  it('logs everything from a hang-up to the next one, whatever the level', async () => {
    const once = (log: EventLog) => log.toggleDebug();
    const twice = (log: EventLog) => [1, 2].forEach(log.toggleDebug);

    expect(await logged({}, once)).toBe(await logged({ BOSH_LOG_LEVEL: 'debug' }));
    expect(await logged({}, twice)).toBe('');
    expect(await logged({ BOSH_LOG_LEVEL: 'warn' }, twice)).toBe(await logged({ BOSH_LOG_LEVEL: 'warn' }));
  });

  it('is refused when it is no level, in the words of the original', async () => {
    await expect(logged({ BOSH_LOG_LEVEL: 'loud' })).rejects.toMatchObject({
      code: 'E_LOG_LEVEL',
      message: 'Invalid BOSH_LOG_LEVEL value',
    });
  });

  it('goes to the end of BOSH_LOG_PATH, which only the owner may read', async () => {
    const path = join(folder, 'bosh.log');
    writeFileSync(join(folder, 'old.log'), 'before\n');

    expect(await logged({ BOSH_LOG_LEVEL: 'error', BOSH_LOG_PATH: path })).toBe('');
    await logged({ BOSH_LOG_LEVEL: 'error', BOSH_LOG_PATH: join(folder, 'old.log') });

    expect(readFileSync(path, 'utf8')).toMatch(/^\[microbosh\] .* ERROR - Failed Creating VM/);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(folder, 'old.log'), 'utf8')).toMatch(/^before\n\[microbosh\]/);
  });
});
