import { parseArgs } from 'node:util';

const parts = ['contract', 'cases', 'deploy', 'guest', 'faults'] as const;
type Part = (typeof parts)[number];

export interface LabOptions {
  readonly wants: (part: Part) => boolean;
  /** Only rows of these methods. */
  readonly methods: readonly string[] | undefined;
  /** Only faults of these names. */
  readonly faults: readonly string[] | undefined;
}

/**
 * `--part NAME…` contract, cases, deploy, guest or faults only; `--methods` and `--faults` with names after one another, by
 * commas. Ends the process on a name that there is not.
 */
export function labOptions(): LabOptions {
  const { values } = parseArgs({
    options: {
      part: { type: 'string', multiple: true, default: [...parts] },
      methods: { type: 'string' },
      faults: { type: 'string' },
    },
  });
  const unknown = values.part.find((name) => !parts.some((part) => part === name));
  if (unknown !== undefined) {
    console.error(`no part '${unknown}'; there are: ${parts.join(', ')}`);
    process.exit(1);
  }
  return {
    wants: (part) => values.part.includes(part),
    methods: values.methods?.split(','),
    faults: values.faults?.split(','),
  };
}
