import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ActionError } from '../errors.ts';
import { TaskManager } from '../tasks/task-manager.ts';
import { silentLog } from '../testing/test-agent.ts';
import { Dispatcher } from './dispatcher.ts';

let work: string;
let started: number;
let dispatcher: Dispatcher;

beforeEach(() => {
  work = mkdtempSync(join(tmpdir(), 'dispatcher-'));
  started = 0;
  dispatcher = new Dispatcher({
    tasks: new TaskManager({ file: join(work, 'tasks.json'), parallel: 1 }),
    log: silentLog,
    actions: {
      start: async () => {
        started += 1;
        if (started > 1) throw new ActionError('again', { code: 'E_STOP', retryable: true, advice: 'Wait.' });
        return 'started';
      },
    },
  });
});
afterEach(() => rmSync(work, { recursive: true, force: true }));

const body = (id?: string) =>
  JSON.stringify({ method: 'start', arguments: [], reply_to: 'x', ...(id ? { request_id: id } : {}) });

it('does not run a request again that is repeated with its id', async () => {
  const answers = await Promise.all([dispatcher.dispatch(body('1')), dispatcher.dispatch(body('1'))]);
  const later = await dispatcher.dispatch(body('1'));

  expect([...answers, later].map(({ answer }) => answer)).toEqual(Array(3).fill({ value: 'started' }));
  expect(started).toBe(1);
  await dispatcher.dispatch(body('2'));
  await dispatcher.dispatch(body());
  await dispatcher.dispatch(body());
  expect(started).toBe(4);
});

it('says of a failure what it is, whether it is worth a repetition, and what to do', async () => {
  await dispatcher.dispatch(body());

  expect((await dispatcher.dispatch(body())).answer).toEqual({
    exception: { message: 'Action Failed start: again', code: 'E_STOP', retryable: true, advice: 'Wait.' },
  });
});
