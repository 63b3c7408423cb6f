import { describe, expect, it } from 'vitest';
import { messageChain } from './messages.ts';

describe('the messages of an error and its causes', () => {
  it('begin with the outermost', () => {
    const error = new Error('the deploy failed', { cause: new Error('no route to host') });

    expect(messageChain(error)).toEqual(['the deploy failed', 'no route to host']);
  });

  it('say nothing twice when a message quotes its cause', () => {
    const error = new Error("'a.tgz' cannot be read: ENOENT", { cause: new Error('ENOENT') });

    expect(messageChain(error)).toEqual(["'a.tgz' cannot be read: ENOENT"]);
  });
});
