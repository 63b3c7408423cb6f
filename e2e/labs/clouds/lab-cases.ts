import type { ConformanceCheck, Cpi } from '@microbosh/cpi';
import { flavourOf } from '@microbosh/stemcell-builder';
import type { Iaas } from '@microbosh/stemcell-builder';
import { methodOf } from '../../support/lab-report.ts';
import type { LabReport } from '../../support/lab-report.ts';

export interface LabCase {
  readonly method: string;
  readonly name: string;
  readonly body: () => Promise<void>;
}

export interface Suite {
  /** `library`, `executable`. */
  readonly name: string;
  readonly checks: readonly ConformanceCheck[];
}

/** What `build-stemcell` makes for a cloud is what its CPI takes. */
export function stemcellFormats(iaas: Iaas, cpi: Cpi): LabCase {
  return {
    method: 'info',
    name: `the formats of build-stemcell --iaas ${iaas} are among those of the CPI`,
    body: async () => {
      const context = { directorUuid: 'lab', requestId: 'cpi-1', stemcellApiVersion: 3 };
      const { stemcell_formats: taken } = await cpi.info(context);
      const made = flavourOf(iaas).stemcellFormats;
      const strange = made.filter((format) => !taken.includes(format));
      if (made.length === 0 || strange.length > 0) throw new Error(`not taken: ${strange.join(', ')}`);
    },
  };
}

/** What a cloud has, by its own API, as texts. */
export interface CloudInventory {
  everything(): Promise<readonly string[]>;
}

/** What is left is told once, not again with every later case. */
export async function nothingSince(cloud: CloudInventory, before: Set<string>): Promise<void> {
  const left = (await cloud.everything()).filter((thing) => !before.has(thing));
  for (const thing of left) before.add(thing);
  if (left.length > 0) throw new Error(`left over: ${left.join(', ')}`);
}

/** Cases on a peer; where it cannot be had they are named and counted as skipped. */
export class CaseRunner {
  readonly #report: LabReport;
  readonly #isThere: boolean;
  readonly #cloud: CloudInventory;
  readonly #before: Set<string>;
  readonly #methods: readonly string[] | undefined;

  constructor(
    report: LabReport,
    options: {
      readonly isThere: boolean;
      readonly cloud: CloudInventory;
      readonly before: Set<string>;
      /** Only cases of these methods. */
      readonly methods?: readonly string[] | undefined;
    },
  ) {
    this.#report = report;
    this.#isThere = options.isThere;
    this.#cloud = options.cloud;
    this.#before = options.before;
    this.#methods = options.methods;
  }

  async run({ method, name, body }: LabCase): Promise<void> {
    if (this.#methods?.includes(method) === false) return;
    if (this.#isThere) await this.#report.case(method, name, body);
    else this.#report.skip(method, name);
  }

  /** The checks of a suite in order, and that nothing of it is left by the cloud's own API. */
  async suites(suites: readonly Suite[]): Promise<void> {
    // Each check relies on those before it.
    if (this.#methods !== undefined) return;
    for (const { name, checks } of suites) {
      for (const check of checks) {
        await this.run({
          method: methodOf(check.name),
          name: `${name}: ${check.name}`,
          body: () => check.run(),
        });
      }
      await this.run({
        method: 'any',
        name: `${name}: nothing is left, by the cloud's own API`,
        body: () => nothingSince(this.#cloud, this.#before),
      });
    }
  }

  /** Cases that clean up behind themselves. */
  async clean(cases: readonly LabCase[]): Promise<void> {
    for (const { method, name, body } of cases) {
      await this.run({
        method,
        name,
        body: async () => {
          await body();
          await nothingSince(this.#cloud, this.#before);
        },
      });
    }
  }
}
