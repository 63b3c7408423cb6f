import { isJsonObject } from '@microbosh/errors';
import { rm } from 'node:fs/promises';
import { isAbsolute, join, normalize } from 'node:path';
import { readTextIfPresent, statIfPresent } from '../../platform/files.ts';
import { objectOf, valueOf } from '../../settings/json-keys.ts';
import { converge, skipped, type BootstrapStep } from '../step.ts';

/** Removes compilers and static libraries where the deployment asks for it; the stemcell lists what they are. */
export const devTools: BootstrapStep = {
  name: 'development tools',
  timeoutMs: 120_000,
  async run(context) {
    const { env } = context.settings.current();
    const bosh = objectOf(isJsonObject(env) ? env : {}, 'bosh') ?? {};
    const lists = [
      ...(valueOf(bosh, 'remove_dev_tools') === true ? ['dev_tools_file_list'] : []),
      ...(valueOf(bosh, 'remove_static_libraries') === true ? ['static_libraries_list'] : []),
    ];
    if (lists.length === 0) return skipped('the deployment keeps them');
    const texts = await Promise.all(lists.map((list) => readTextIfPresent(join(context.paths.etc, list))));
    const paths = texts.flatMap((text) => parseRemovalList(text ?? ''));
    if (paths.length === 0) return skipped('the stemcell lists none');
    return converge(context, async () => {
      const present = await Promise.all(
        paths.map(async (path) => ((await statIfPresent(path)) ? [path] : [])),
      );
      return present.flat().map((path) => ({
        what: `remove ${path}`,
        apply: () => rm(path, { recursive: true, force: true }),
      }));
    });
  },
};

/** Absolute paths at least two levels deep; anything else in the list is not something to delete. */
export function parseRemovalList(text: string): readonly string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => isAbsolute(line) && normalize(line) === line && line.split('/').length > 2);
}
