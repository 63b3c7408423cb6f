import { basename, dirname, extname, join, resolve } from 'node:path';

/** Files of one environment. Everything but the state file itself lives in one folder beside it, mode 0700. */
export interface EnvironmentPaths {
  /** As create-env reads it. */
  readonly state: string;
  /** As the operator gave it, or derived from the manifest: printed verbatim. */
  readonly shownState: string;
  readonly folder: string;
  readonly previousState: string;
  readonly journal: string;
  readonly lock: string;
  readonly lockHolder: string;
  readonly registryDatabase: string;
  /** What the registry in this process was asked: one JSON object per line, without values. */
  readonly registryLog: string;
  /** Events of the last runs, one JSON object per line. */
  readonly events: string;
  /** What the executable of a CPI release was asked and logged, redacted. */
  readonly cpiLog: string;
}

/** `<folder of the manifest>/<its name without the last extension>-state.json`, unless the operator names a file. */
export function environmentPaths(
  manifestPath: string,
  statePath: string | undefined,
  cwd: string,
): EnvironmentPaths {
  const shownState =
    statePath ??
    join(dirname(resolve(cwd, manifestPath)), `${basename(manifestPath, extname(manifestPath))}-state.json`);
  const state = resolve(cwd, shownState);
  const folder = `${state}.d`;
  return {
    state,
    shownState,
    folder,
    previousState: join(folder, 'previous-state.json'),
    journal: join(folder, 'journal.jsonl'),
    lock: join(folder, 'lock'),
    lockHolder: join(folder, 'lock-holder.json'),
    registryDatabase: join(folder, 'registry.sqlite'),
    registryLog: join(folder, 'registry.log'),
    events: join(folder, 'events.jsonl'),
    cpiLog: join(folder, 'cpi.log'),
  };
}
