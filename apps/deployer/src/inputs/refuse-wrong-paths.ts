import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { StateAbsent } from '../errors.ts';
import { environmentPaths } from '../state/environment-paths.ts';
import type { EnvironmentPaths } from '../state/environment-paths.ts';

/**
 * For a command that found no state file, as after an earlier delete-env: success, as in the original. But where the paths
 * cannot be right, that would be success that leaves VM and disk where they are.
 */
export function refuseWrongPaths(manifest: string, paths: EnvironmentPaths, cwd: string): void {
  const usual = environmentPaths(manifest, undefined, cwd).state;
  const refuse = (problem: string, advice: string) => {
    throw new StateAbsent(`There is no state file '${paths.shownState}'; ${problem}`, {
      details: { path: paths.state },
      advice,
    });
  };
  if (!existsSync(resolve(cwd, manifest))) {
    refuse(`neither is there a manifest '${manifest}'`, 'Check the path of the manifest.');
  }
  if (!existsSync(dirname(paths.state))) {
    refuse('its folder does not exist', 'Check the path that is given as --state.');
  }
  if (existsSync(usual)) {
    refuse(`but there is one beside the manifest: '${usual}'`, 'Leave --state out, or give that one.');
  }
}
