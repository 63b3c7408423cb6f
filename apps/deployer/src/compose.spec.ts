import { describe, expect, it } from 'vitest';
import { compose } from './compose.ts';

describe('what a command gets of its process', () => {
  it('has the key of the vars-store, which what it starts does not inherit', () => {
    const stream = { write: () => true };
    const process = {
      env: { MICROBOSH_VARS_KEY: 'a key that is long enough', HOME: '/home/op' } as NodeJS.ProcessEnv,
      cwd: () => '/',
      stdin: {},
      stdout: stream,
      stderr: stream,
    } as unknown as NodeJS.Process;
    const global = { json: true, tty: false, color: false, quiet: true, nonInteractive: true };
    const { context } = compose(global, process, new AbortController().signal);

    expect(context.env).toEqual({ MICROBOSH_VARS_KEY: 'a key that is long enough', HOME: '/home/op' });
    expect(process.env).toEqual({ HOME: '/home/op' });
  });
});
