import { expect, it } from 'vitest';
import { ActionError, causeChain, innermostOperational } from '../errors.ts';
import type { AgentParts } from './context.ts';
import { stateActions } from './state-actions.ts';

it('get_state fails, naming the reason, when the supervisor cannot be asked', async () => {
  const parts = {
    specs: { current: async () => ({}) },
    supervisor: {
      processes: async () => {
        throw new ActionError('Getting the status of monit', {
          code: 'E_SUPERVISOR',
          cause: new Error('connect ECONNREFUSED 127.0.0.1:2822'),
        });
      },
    },
  } as unknown as AgentParts;
  const { get_state: getState } = stateActions(parts);

  const error: unknown = await getState?.(['full'], {} as never).catch((failure: unknown) => failure);

  expect(innermostOperational(error)?.code).toBe('E_SUPERVISOR');
  expect(causeChain(error)).toBe(
    'Getting processes status: Getting the status of monit: connect ECONNREFUSED 127.0.0.1:2822',
  );
});
