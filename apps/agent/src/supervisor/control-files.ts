import { glob, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { basename, isAbsolute, join } from 'node:path';
import { errorCode } from '@microbosh/errors';
import { writeFileDurably } from '@microbosh/host';
import { ActionError } from '../errors.ts';
import type { Layout } from '../layout.ts';
import { which } from '../platform/which.ts';
import { parseControlFile } from './control-file.ts';
import type { ControlFlaw, ControlService } from './control-language.ts';
import type { ControlProblem } from './port.ts';
import { pingProgram } from './rule-checks.ts';

/**
 * Puts the control files of the enabled jobs where the supervisor reads them: jobs in reverse order, index from 0,
 * `monit` → `<index>_<job>.monitrc`, `<x>.monit` → `<index>_<job>_<x>.monitrc`, copied as they are.
 */
export async function writeControlFiles(layout: Layout, jobs: readonly string[]): Promise<void> {
  const wanted = new Map<string, string>();
  const ordered = [...jobs].reverse();
  for (const [index, job] of ordered.entries()) {
    const prefix = `${String(index).padStart(4, '0')}_${job}`;
    const dir = join(layout.jobs, job);
    for (const name of await namesIn(dir)) {
      if (name === 'monit') wanted.set(`${prefix}.monitrc`, await readFile(join(dir, name), 'utf8'));
      else if (name.endsWith('.monit')) {
        wanted.set(
          `${prefix}_${name.slice(0, -'.monit'.length)}.monitrc`,
          await readFile(join(dir, name), 'utf8'),
        );
      }
    }
  }
  await mkdir(layout.monitJobs, { recursive: true, mode: 0o700 });
  for (const name of await namesIn(layout.monitJobs)) {
    if (!wanted.has(name)) await rm(join(layout.monitJobs, name), { force: true });
  }
  for (const [name, content] of wanted) {
    const path = join(layout.monitJobs, name);
    if ((await readFile(path, 'utf8').catch(() => undefined)) === content) continue;
    await writeFileDurably(path, content, { mode: 0o600 });
  }
}

/** Behind the name of a control file that monit does not understand; it is written anew by the next start. */
export const refusedSuffix = '.refused';

export interface LoadedService {
  readonly file: string;
  readonly service: ControlService;
}

export interface LoadedControlFiles {
  readonly services: readonly LoadedService[];
  readonly problems: readonly ControlProblem[];
  /** Names of services in files that cannot be used. */
  readonly unusable: readonly string[];
}

/** Reads all control files and what they include. A file with a flaw counts for nothing. */
export async function loadControlFiles(layout: Layout): Promise<LoadedControlFiles> {
  const services: LoadedService[] = [];
  const problems: ControlProblem[] = [];
  const unusable: string[] = [];
  const queue = (await namesIn(layout.monitJobs))
    .filter((name) => name.endsWith('.monitrc'))
    .sort()
    .map((name) => join(layout.monitJobs, name));
  const seen = new Set(queue);
  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    const file = path.startsWith(layout.monitJobs) ? basename(path) : path;
    const content = await readFile(path, 'utf8');
    const parsed = parseControlFile(content);
    const flaws = [...parsed.flaws];
    for (const { name, line } of parsed.services) {
      const other = services.find(({ service }) => service.name === name);
      if (other) flaws.push({ line, message: `the service '${name}' is described in '${other.file}' too` });
    }
    flaws.push(...(await missingPrograms(parsed.services)));
    if (flaws.length > 0) {
      problems.push(...flaws.map((flaw) => ({ file, ...flaw })));
      const taken = new Set(services.map(({ service }) => service.name));
      unusable.push(...servicesNamedIn(file, content).filter((name) => !taken.has(name)));
      continue;
    }
    services.push(...parsed.services.map((service) => ({ file, service })));
    for (const pattern of parsed.includes) {
      const found: string[] = [];
      // As monit: relative ones are beside the file that includes them.
      for await (const each of glob(isAbsolute(pattern) ? pattern : join(path, '..', pattern)))
        found.push(each);
      for (const each of found.sort()) {
        if (seen.has(each) || seen.size >= maxControlFiles) continue;
        seen.add(each);
        queue.push(each);
      }
    }
  }
  dropBrokenDependencies(services, problems, unusable);
  return { services, problems, unusable };
}

/** Rules that would never tell anything here. */
async function missingPrograms(services: readonly ControlService[]): Promise<readonly ControlFlaw[]> {
  const pings = services.flatMap(({ rules }) => rules.filter(({ test }) => test.kind === 'ping'));
  if (pings.length === 0 || (await which(pingProgram)) !== undefined) return [];
  const message = `'failed ping' needs the program '${pingProgram}', which this machine lacks: put it into the stemcell (iputils-ping)`;
  return pings.map(({ line }) => ({ line, message }));
}

/** A service that depends on what is not there, or on itself in the end, is left out; so is what depends on it. */
function dropBrokenDependencies(
  services: LoadedService[],
  problems: ControlProblem[],
  unusable: string[],
): void {
  for (;;) {
    const byName = new Map(services.map(({ service }) => [service.name, service]));
    const reaches = (from: ControlService, wanted: string, seen: Set<string>): boolean =>
      from.dependsOn.some((name) => {
        if (name === wanted) return true;
        const next = byName.get(name);
        return next !== undefined && !seen.has(name) && reaches(next, wanted, seen.add(name));
      });
    const broken = services.findIndex(
      ({ service }) =>
        service.dependsOn.some((name) => !byName.has(name)) || reaches(service, service.name, new Set()),
    );
    const [found] = broken < 0 ? [] : services.splice(broken, 1);
    if (!found) return;
    const { file, service } = found;
    const absent = service.dependsOn.find((name) => !byName.has(name));
    const message =
      absent === undefined
        ? `'${service.name}' depends on itself`
        : `'${service.name}' depends on '${absent}', which is not there`;
    problems.push({ file, line: service.line, message });
    unusable.push(service.name);
  }
}

const maxControlFiles = 1_000;

/** Names of the services in a file that may be broken; that of its job when none can be made out. */
export function servicesNamedIn(file: string, content: string): readonly string[] {
  const names = [...content.matchAll(/^\s*check\s+\w+\s+"?([\w.@:-]+)"?/gim)].map(([, name = '']) => name);
  if (names.length > 0) return [...new Set(names)];
  return [file.replace(/^\d{4}_/, '').replace(/\.monitrc(\.refused)?$/, '')];
}

/** One failure for all files that cannot be used, naming each place. */
export function controlFileFailure(problems: readonly ControlProblem[]): ActionError {
  const places = problems.map(({ file, line, message }) => `${file}:${line}: ${message}`);
  return new ActionError(`Control files cannot be used: ${places.join('; ')}`, {
    code: 'E_CONTROL_FILE',
    advice: 'Correct the monit files of these jobs; the jobs of other files are supervised.',
    details: { problems: problems.map(({ file, line, message }) => ({ file, line, message })) },
  });
}

async function namesIn(dir: string): Promise<readonly string[]> {
  try {
    return (await readdir(dir)).filter((name) => !name.startsWith('.'));
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR') return [];
    throw error;
  }
}
