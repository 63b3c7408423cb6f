import { randomBytes } from 'node:crypto';
import { errorCode } from '@microbosh/errors';
import type { AnsweredRequest } from '@microbosh/registry-server';
import { makeCa, makeServerCertificate } from './certificates.ts';
import type { OwnState } from '../state/environment-state.ts';
import { boundedLog } from '../state/bounded-log.ts';
import type { StateStore } from '../state/state-store.ts';
import { RegistrySightings } from './registry-witness.ts';
import type { RegistryWitness } from './registry-witness.ts';

type RegistryRecord = NonNullable<OwnState['registry']>;

/** `registry` of a CPI's configuration. */
export interface RegistryAccess {
  readonly endpoint: string;
  readonly user: string;
  readonly password: string;
  readonly ca: string;
}

export interface DeployRegistry {
  readonly access: RegistryAccess;
  readonly port: number;
  /** Where the VMs that are there look for it, when that is somewhere else. */
  readonly movedFrom: string | undefined;
  /** What it saw of the VM. */
  readonly witness: RegistryWitness;
  close(): Promise<void>;
}

/**
 * A registry in this process for the time of a deploy. Its port, credentials and CA stay the same from run to run: VMs
 * have its address in their user data. Its rows are kept beside the state file.
 */
export async function startRegistry(store: StateStore, address: string): Promise<DeployRegistry> {
  const { createRegistryServer } = await import('@microbosh/registry-server');
  let record = await registryRecord(store.current.own.registry, address);
  const sightings = new RegistrySightings(address);
  const log = boundedLog(store.paths.registryLog);
  const onAnswer = (answer: AnsweredRequest) => {
    const at = new Date();
    sightings.saw(answer, at);
    try {
      log(JSON.stringify({ time: at.toISOString(), ...answer }));
    } catch {
      // History only: where there is no room for it, the state says so with its own error.
    }
  };
  const open = (port: number) =>
    createRegistryServer({
      onAnswer,
      store: { sqliteFile: store.paths.registryDatabase },
      admins: [{ user: record.user, password: record.password, access: 'read-write' }],
      listeners: [
        { address, port, tls: { certificate: record.certificate, privateKey: record.private_key } },
      ],
      // What is still connected has its answers: the CPI of this process, and agents that wait for nothing more.
      drainMs: 0,
    });
  let server = await open(record.port);
  let bound: readonly { readonly port: number }[];
  try {
    bound = await server.listen();
  } catch (error) {
    await server.close();
    if (errorCode(error) !== 'EADDRINUSE') throw error;
    // Someone else has the port now. Agents that are up live from their cached settings.
    server = await open(0);
    bound = await server.listen();
  }
  const known = store.current.own.registry;
  record = { ...record, port: bound[0]?.port ?? record.port };
  const hasMoved = known !== undefined && (known.address !== address || known.port !== record.port);
  await store.update({ own: { registry: record } });
  const host = address.includes(':') ? `[${address}]` : address;
  return {
    access: {
      endpoint: `https://${host}:${record.port}`,
      user: record.user,
      password: record.password,
      ca: record.ca,
    },
    port: record.port,
    witness: sightings.testify,
    movedFrom: hasMoved ? `${known.address}:${known.port}` : undefined,
    close: () => server.close(),
  };
}

async function registryRecord(known: RegistryRecord | undefined, address: string): Promise<RegistryRecord> {
  if (known?.address === address) return known;
  const now = new Date();
  const ca =
    known === undefined
      ? await makeCa('registry CA', now)
      : { certificate: known.ca, private_key: known.ca_key };
  const leaf = await makeServerCertificate(ca, address, now);
  return {
    port: known?.port ?? 0,
    user: known?.user ?? 'registry',
    password: known?.password ?? randomBytes(24).toString('hex'),
    ca: ca.certificate,
    ca_key: ca.private_key,
    address,
    certificate: leaf.certificate,
    private_key: leaf.private_key,
  };
}
