import type { JsonObject } from '@microbosh/errors';
import type { NetworksSpec } from '@microbosh/spec';
import type { CallContext, Cpi, CpiExtensions, CreatedVm } from './contract.ts';

/** Arguments of create_vm by name. */
export interface VmRequest {
  readonly agentId: string;
  readonly stemcellCid: string;
  readonly cloudProperties: JsonObject;
  readonly networks: NetworksSpec;
  readonly diskCids: readonly string[];
  readonly env: JsonObject;
}

type Full = Cpi & CpiExtensions;

/** The methods of a CPI as functions of what each of them needs (`C`: clients, configuration). */
export type CloudMethods<C> = {
  readonly [K in keyof Omit<Full, 'createVm'>]: (
    cloud: C,
    ...args: Parameters<NonNullable<Full[K]>>
  ) => ReturnType<NonNullable<Full[K]>>;
} & {
  readonly createVm: (cloud: C, context: CallContext, request: VmRequest) => Promise<CreatedVm>;
};

/** A CPI of functions. What `methods` leaves out of the extensions, the CPI has not. */
export function bindCpi<C, M extends CloudMethods<C>>(
  cloud: C,
  methods: M,
): Cpi & Required<Pick<Full, keyof M & keyof Full>> {
  const { createVm, ...others } = methods;
  const bound = Object.fromEntries(
    (Object.entries(others) as [string, (cloud: C, ...args: never[]) => unknown][]).map(([name, method]) => [
      name,
      (...args: never[]): unknown => method(cloud, ...args),
    ]),
  );
  const cpi: Pick<Cpi, 'createVm'> = {
    createVm: (context, agentId, stemcellCid, cloudProperties, networks, diskCids, env) =>
      createVm(cloud, context, { agentId, stemcellCid, cloudProperties, networks, diskCids, env }),
  };
  // The names and types of the rest follow from `M`.
  return { ...bound, ...cpi } as Cpi & Required<Pick<Full, keyof M & keyof Full>>;
}
