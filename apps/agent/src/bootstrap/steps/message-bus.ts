import { SettingsInvalid } from '../../settings/errors.ts';
import type { BootstrapStep } from '../step.ts';

/** The agent listens or connects there once the machine is ready: an address that cannot work ends the start here. */
export const messageBus: BootstrapStep = {
  name: 'message bus',
  timeoutMs: 1000,
  async run({ settings }) {
    const { mbus } = settings.current();
    const url = URL.canParse(mbus) ? new URL(mbus) : undefined;
    if (url === undefined || !['https:', 'nats:', 'tls:'].includes(url.protocol)) {
      throw new SettingsInvalid('The mbus in the settings is neither an https nor a nats URL.', {
        advice: 'For example https://user:password@0.0.0.0:6868.',
      });
    }
    return { outcome: 'unchanged' };
  },
};
