import { isJsonObject } from '@microbosh/errors';
import { join } from 'node:path';
import { accountOf } from '../../platform/accounts.ts';
import type { Account } from '../../platform/accounts.ts';
import { wantDirectory, wantFile } from '../../platform/wanted-files.ts';
import { objectOf, stringsOf } from '../../settings/json-keys.ts';
import { converge, skipped, type BootstrapStep, type Change } from '../step.ts';

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
    const keys = [...wanted, ...(cloudKey === undefined ? [] : [cloudKey])];
    if (keys.length === 0) return skipped('neither the settings nor the cloud name a key');
    return converge(context, () => wantAuthorizedKeys(account, keys));
  },
};

/** Changes after which these keys, and no others, let people log in to the account. */
export async function wantAuthorizedKeys(
  account: Account,
  keys: readonly string[],
): Promise<readonly Change[]> {
  const owner = { uid: account.uid, gid: account.gid };
  const directory = join(account.home, '.ssh');
  const lines = [...new Set(keys.map((key) => key.trim()))];
  return [
    ...(await wantDirectory(directory, { mode: 0o700, ...owner })),
    ...(await wantFile(join(directory, 'authorized_keys'), `${lines.join('\n')}\n`, {
      mode: 0o600,
      ...owner,
    })),
  ];
}
