import { isJsonObject } from '@microbosh/errors';
import { join } from 'node:path';
import { accountOf } from '../../platform/accounts.ts';
import { wantDirectory, wantFile } from '../../platform/wanted-files.ts';
import { objectOf, stringsOf } from '../../settings/json-keys.ts';
import { converge, skipped, type BootstrapStep } from '../step.ts';

/** Keys of `env.bosh.authorized_keys`, and the one that the cloud gives, let people log in as vcap. */
export const authorizedKeys: BootstrapStep = {
  name: 'authorized keys',
  timeoutMs: 60_000,
  async run(context) {
    const { settings, signal } = context;
    const account = await accountOf('vcap');
    if (account === undefined) return skipped('this machine has no user vcap');
    const { env } = settings.current();
    const wanted = stringsOf(objectOf(isJsonObject(env) ? env : {}, 'bosh'), 'authorized_keys') ?? [];
    const cloudKey = await settings.publicKey(signal);
    const keys = [
      ...new Set([...wanted, ...(cloudKey === undefined ? [] : [cloudKey])].map((key) => key.trim())),
    ];
    if (keys.length === 0) return skipped('neither the settings nor the cloud name a key');

    const owner = { uid: account.uid, gid: account.gid };
    const directory = join(account.home, '.ssh');
    return converge(context, async () => [
      ...(await wantDirectory(directory, { mode: 0o700, ...owner })),
      ...(await wantFile(join(directory, 'authorized_keys'), `${keys.join('\n')}\n`, {
        mode: 0o600,
        ...owner,
      })),
    ]);
  },
};
