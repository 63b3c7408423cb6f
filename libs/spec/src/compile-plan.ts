import { createHash } from 'node:crypto';
import { OperationalError } from '@microbosh/errors';
import type { ReleaseManifest, ReleasePackage } from './release-model.ts';

/** The packages that the jobs need cannot be put into an order, or are not there. */
export class CompilePlanImpossible extends OperationalError {
  readonly code = 'E_COMPILE_PLAN';
}

export interface PlannedPackage {
  /**
   * Identity of the compiled result: over name, fingerprint and all transitive dependencies. Equal names in two
   * releases are two packages; equal content is compiled once.
   */
  readonly key: string;
  readonly name: string;
  readonly fingerprint: string;
  /** Release whose archive is used. */
  readonly release: string;
  /** Digest string of the archive. */
  readonly sha1: string;
  /** The archive holds the compiled tree: nothing to compile. */
  readonly compiled: boolean;
  /** Keys of the direct dependencies. */
  readonly dependencies: readonly string[];
}

export interface CompilePlan {
  /** Packages by key; every package comes after its dependencies. */
  readonly packages: ReadonlyMap<string, PlannedPackage>;
  /** Keys in groups: a package depends on packages of earlier groups only, so one group can be done in parallel. */
  readonly levels: readonly (readonly string[])[];
  /** What is installed on the VM, by name: there is one place per name. */
  readonly installed: ReadonlyMap<string, string>;
  /** Things that the operator should know; the originals say nothing about them. */
  readonly warnings: readonly string[];
}

export interface CompilePlanInput {
  readonly releases: readonly ReleaseManifest[];
  /** Jobs in manifest order with the packages of their job.MF. */
  readonly jobs: readonly {
    readonly name: string;
    readonly release: string;
    readonly packages: readonly string[];
  }[];
  /** `<os>/<version>` of the stemcell that the packages run on; undefined when it is unknown. */
  readonly stemcell?: string;
}

/**
 * Decides which packages are needed, in which order, and which of them are compiled already (reference create-env
 * §6.3, §8.9, §12). Pure. Throws `CompilePlanImpossible`.
 */
export function planCompilation(input: CompilePlanInput): CompilePlan {
  const planner = new Planner(input);
  for (const job of input.jobs) planner.addJob(job);
  return planner.finish();
}

class Planner {
  readonly #catalogs = new Map<string, Catalog>();
  readonly #packages = new Map<string, PlannedPackage>();
  readonly #keys = new Map<ReleasePackage, string>();
  /** Transitive `name:fingerprint` of every planned package. */
  readonly #closures = new Map<string, readonly string[]>();
  readonly #depths = new Map<string, number>();
  readonly #installed = new Map<
    string,
    { readonly key: string; readonly job: string; readonly direct: boolean }
  >();
  readonly #warnings = new Set<string>();

  constructor(input: CompilePlanInput) {
    for (const release of input.releases) {
      this.#catalogs.set(release.name, new Catalog(release, input.stemcell, this.#warnings));
    }
  }

  addJob(job: CompilePlanInput['jobs'][number]): void {
    const catalog = this.#catalogs.get(job.release);
    if (catalog === undefined) {
      throw impossible(`Job '${job.name}' refers to release '${job.release}', which is not provided`);
    }
    for (const name of job.packages) {
      const entry = catalog.find(name);
      if (entry === undefined) {
        throw impossible(`Expected to find package '${name}' since it's a dependency of job '${job.name}'`);
      }
      this.#install(this.#add(entry, catalog, []), job.name, true);
    }
  }

  finish(): CompilePlan {
    const levels: string[][] = [];
    for (const [key, depth] of this.#depths) (levels[depth] ??= []).push(key);
    return {
      packages: this.#packages,
      levels,
      installed: new Map([...this.#installed].map(([name, { key }]) => [name, key])),
      warnings: [...this.#warnings],
    };
  }

  /** Adds a package after its dependencies and gives its key. `path`: names from the job's package down to here. */
  #add(entry: ReleasePackage, catalog: Catalog, path: readonly string[]): string {
    const known = this.#keys.get(entry);
    if (known !== undefined) return known;
    if (path.includes(entry.name)) {
      throw impossible(`Packages depend on each other in a circle: ${[...path, entry.name].join(' -> ')}`);
    }
    const dependencies = entry.dependencies.map((name) => {
      const dependency = catalog.find(name);
      if (dependency === undefined) {
        throw impossible(
          `Expected to find package '${name}' since it's a dependency of package '${entry.name}'`,
        );
      }
      return this.#add(dependency, catalog, [...path, entry.name]);
    });
    const closure = new Set<string>();
    for (const key of dependencies) for (const item of this.#closures.get(key) ?? []) closure.add(item);
    const sorted = [...closure].sort();
    const key = keyOf(entry, sorted);
    this.#keys.set(entry, key);
    this.#closures.set(key, [...sorted, `${entry.name}:${entry.fingerprint}`]);
    this.#depths.set(
      key,
      Math.max(-1, ...dependencies.map((dependency) => this.#depths.get(dependency) ?? 0)) + 1,
    );
    const compiled = catalog.isCompiled(entry);
    // The same content from a second release: a compiled archive saves the work.
    if (!this.#packages.has(key) || (compiled && this.#packages.get(key)?.compiled === false)) {
      const { name, fingerprint, sha1 } = entry;
      this.#packages.set(key, {
        key,
        name,
        fingerprint,
        release: catalog.name,
        sha1,
        compiled,
        dependencies,
      });
    }
    return key;
  }

  /**
   * One name has one place on the VM. As in the original, a package that a later job names replaces an earlier one,
   * and one that is only a dependency does not.
   */
  #install(key: string, job: string, direct: boolean): void {
    const entry = this.#packages.get(key);
    if (entry === undefined) return;
    for (const dependency of entry.dependencies) this.#install(dependency, job, false);
    const existing = this.#installed.get(entry.name);
    if (existing?.key === key) return;
    if (existing !== undefined) {
      this.#warnings.add(
        `Package '${entry.name}' is different for job '${existing.job}' and job '${job}'; the VM has one place for it, ` +
          `which holds that of job '${direct ? job : existing.job}'`,
      );
      if (!direct) return;
    }
    this.#installed.set(entry.name, { key, job, direct });
  }
}

/** The packages of one release by name, compiled ones preferred. */
class Catalog {
  readonly name: string;
  readonly #chosen = new Map<string, ReleasePackage>();
  readonly #compiled: ReadonlySet<ReleasePackage>;

  constructor(release: ReleaseManifest, stemcell: string | undefined, warnings: Set<string>) {
    this.name = release.name;
    this.#compiled = new Set(release.compiledPackages);
    for (const source of release.packages) this.#chosen.set(source.name, source);
    for (const compiled of release.compiledPackages) {
      const fits = stemcell === undefined || compiled.stemcell?.toLowerCase() === stemcell.toLowerCase();
      if (!fits && this.#chosen.has(compiled.name)) continue;
      if (!fits) {
        warnings.add(
          `Release '${release.name}' was compiled for stemcell '${compiled.stemcell ?? 'unknown'}', ` +
            `not for '${stemcell}'`,
        );
      }
      this.#chosen.set(compiled.name, compiled);
    }
  }

  find(name: string): ReleasePackage | undefined {
    return this.#chosen.get(name);
  }

  isCompiled(entry: ReleasePackage): boolean {
    return this.#compiled.has(entry);
  }
}

function keyOf(entry: ReleasePackage, closure: readonly string[]): string {
  const text = JSON.stringify([entry.name, entry.fingerprint, closure]);
  return `${entry.fingerprint}-${createHash('sha256').update(text).digest('hex').slice(0, 16)}`;
}

function impossible(message: string): CompilePlanImpossible {
  return new CompilePlanImpossible(message, {
    advice: 'The release is incomplete or was built for something else; build or download it again.',
  });
}
