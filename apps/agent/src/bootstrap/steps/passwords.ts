import { isJsonObject } from '@microbosh/errors';
import { readFile } from 'node:fs/promises';
import { parseShadow } from '../../platform/accounts.ts';
import { objectOf, stringOf, valueOf } from '../../settings/json-keys.ts';
import { converge, skipped, type BootstrapStep } from '../step.ts';

/** vcap, and root unless it is to keep its own: the hash from `env.bosh.password`, or locked when there is none. */
export const passwords: BootstrapStep = {
  name: 'passwords',
  timeoutMs: 30_000,
  async run(context) {
    const { env } = context.settings.current();
    const bosh = objectOf(isJsonObject(env) ? env : {}, 'bosh') ?? {};
    const hash = stringOf(bosh, 'password') ?? '*';
    const users = valueOf(bosh, 'keep_root_password') === true ? ['vcap'] : ['root', 'vcap'];
    if (/[:\n]/.test(hash)) return skipped('env.bosh.password is not a password hash');
    return converge(context, async () => {
      const held = parseShadow(await readFile('/etc/shadow', 'utf8'));
      const wrong = users.filter((user) => held.has(user) && held.get(user) !== hash);
      if (wrong.length === 0) return [];
      return [
        {
          what: `set the password of ${wrong.join(' and ')}`,
          apply: async () => {
            // Through stdin: argv is readable for every user of the machine.
            const lines = wrong.map((user) => `${user}:${hash}\n`).join('');
            await context.runner.run(['chpasswd', '-e'], { stdin: lines, signal: context.signal });
          },
        },
      ];
    });
  },
};
