import { SettingsInvalid } from '../../settings/errors.ts';
import type { BootstrapStep } from '../step.ts';

/** The id becomes host name, subject on the message bus and prefix of partition names: it has to fit there. */
export const agentId: BootstrapStep = {
  name: 'agent id',
  timeoutMs: 1000,
  async run({ settings }) {
    const { agent_id: id } = settings.current();
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(id)) {
      throw new SettingsInvalid('The agent_id in the settings cannot be a host name.', {
        advice: 'Up to 64 letters, digits, dots, dashes and underscores.',
      });
    }
    return { outcome: 'unchanged' };
  },
};
