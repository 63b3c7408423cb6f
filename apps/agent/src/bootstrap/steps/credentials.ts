import { isJsonObject, messageOf } from '@microbosh/errors';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { SettingsInvalid } from '../../settings/errors.ts';
import { objectOf, stringOf } from '../../settings/json-keys.ts';
import { skipped, type BootstrapStep } from '../step.ts';

/** The key pair of the agent's endpoint has to belong together, before anything listens with it. */
export const credentials: BootstrapStep = {
  name: 'credentials',
  timeoutMs: 5000,
  async run({ settings }) {
    const { env } = settings.current();
    const cert = objectOf(objectOf(objectOf(isJsonObject(env) ? env : {}, 'bosh'), 'mbus'), 'cert');
    const certificate = stringOf(cert, 'certificate');
    const privateKey = stringOf(cert, 'private_key');
    if (certificate === undefined || privateKey === undefined) {
      return skipped('the settings bring no key pair for the message bus');
    }
    let belongTogether: boolean;
    try {
      belongTogether = new X509Certificate(certificate).checkPrivateKey(createPrivateKey(privateKey));
    } catch (error) {
      throw new SettingsInvalid(`env.bosh.mbus.cert cannot be used: ${messageOf(error)}.`);
    }
    if (!belongTogether) {
      throw new SettingsInvalid('env.bosh.mbus.cert: the private key does not belong to the certificate.');
    }
    return { outcome: 'unchanged' };
  },
};
