import { randomBytes, X509Certificate } from 'node:crypto';
import { isJsonObject } from '@microbosh/errors';
import type { Json, JsonObject } from '@microbosh/errors';
import { buildVmEnv } from '@microbosh/spec';
import type { DeploymentModel, NetworksSpec } from '@microbosh/spec';
import { makeCa, makeServerCertificate, validityDays } from './certificates.ts';
import { CertificateUnusable } from '../errors.ts';
import type { AgentEndpoint, OwnState } from '../state/environment-state.ts';

type GeneratedAccess = NonNullable<OwnState['agent']>;

/** How the agent of the VM is reached, and what the VM has to be told for it. */
export interface AgentAccess {
  readonly endpoint: AgentEndpoint;
  /** `env` of create_vm, with the certificate of the agent's endpoint. */
  readonly env: JsonObject;
  /** `mbus` of the VM's settings. */
  readonly settingsMbus: string;
  /** Present when the manifest leaves credentials or certificate to us; goes into the state. */
  readonly generated: GeneratedAccess | undefined;
}

const agentPort = 6868;
const anyHost = '0.0.0.0';
const agentName = 'agent.microbosh.internal';
const minimumValidityMs = 30 * 86_400_000;

/**
 * The manifest's own endpoint when it gives one. What it does not give is made once per deployment and kept: user and
 * password, and a certificate for exactly the VM's address, signed by a CA that nothing else is signed with.
 */
export async function agentAccess(
  model: DeploymentModel,
  address: string | undefined,
  known: GeneratedAccess | undefined,
  now: Date,
): Promise<AgentAccess> {
  const env = buildVmEnv(model);
  const given = model.cloud.mbus === undefined ? undefined : new URL(model.cloud.mbus);
  const host = (given?.hostname === anyHost ? undefined : given?.hostname) ?? address ?? anyHost;
  const certificate = certificateInEnv(env);
  const ca = model.cloud.mbusCa ?? certificate?.ca;
  if (certificate?.certificate !== undefined) {
    checkCertificate(
      certificate.certificate,
      host === anyHost ? undefined : host,
      model.cloud.mbusCa ?? certificate.ca,
      now,
    );
  }
  const port =
    given === undefined || given.port === '' ? (given === undefined ? agentPort : 443) : Number(given.port);
  const verifiable = ca !== undefined;
  // A third-party CPI and stemcell get what create-env gives them, no more.
  if (verifiable || (model.cloud.kind === 'release' && given !== undefined)) {
    const generated = given === undefined ? await generate(host, port, known, now) : undefined;
    const mbus = atHost(model.cloud.mbus ?? endpointUrl(generated, host, port), host);
    return { endpoint: { mbus, ca: ca ?? '' }, env, settingsMbus: anyAddress(mbus), generated };
  }
  // An address that the cloud will choose cannot be in a certificate: a name is, which only this CA ever signs.
  const name = host === anyHost ? agentName : host;
  const generated = await generate(name, port, known, now);
  const mbus = atHost(model.cloud.mbus ?? endpointUrl(generated, host, port), host);
  return {
    endpoint: { mbus, ca: generated.ca, ...(name === host ? {} : { server_name: name }) },
    env: withCertificate(env, generated),
    settingsMbus: anyAddress(mbus),
    generated,
  };
}

/** The endpoint of a VM whose address is known now. */
export function endpointAt(endpoint: AgentEndpoint, address: string): AgentEndpoint {
  return isUnknownAddress(endpoint) && address !== ''
    ? { ...endpoint, mbus: atHost(endpoint.mbus, address) }
    : endpoint;
}

export function isUnknownAddress(endpoint: AgentEndpoint | undefined): boolean {
  return endpoint !== undefined && new URL(endpoint.mbus).hostname === anyHost;
}

/** Empty: the networks do not say. */
export function addressOf(networks: NetworksSpec | undefined): string {
  return networks === undefined ? '' : (instanceAddress(networks) ?? '');
}

function atHost(mbus: string, host: string): string {
  const url = new URL(mbus);
  if (url.hostname !== anyHost) return mbus;
  url.hostname = host.includes(':') ? `[${host}]` : host;
  return url.toString().replace(/\/$/, '');
}

/** IP of the network that is the default gateway, or of the only one. */
export function instanceAddress(networks: NetworksSpec): string | undefined {
  const all = Object.values(networks);
  const reachable = all.filter((network) => network.type !== 'vip');
  const main =
    reachable.length === 1 ? reachable[0] : reachable.find((network) => network.default?.includes('gateway'));
  return main?.ip;
}

async function generate(
  host: string,
  port: number,
  known: GeneratedAccess | undefined,
  now: Date,
): Promise<GeneratedAccess> {
  const stillGood =
    known !== undefined &&
    known.names.includes(host) &&
    Date.parse(known.expires_at) - now.getTime() > minimumValidityMs;
  if (stillGood) return { ...known, port };
  const ca = await makeCa('agent CA', now);
  const leaf = await makeServerCertificate(ca, host, now);
  return {
    user: known?.user ?? 'mbus',
    password: known?.password ?? randomBytes(24).toString('hex'),
    port,
    ca: ca.certificate,
    certificate: leaf.certificate,
    private_key: leaf.private_key,
    names: [host],
    expires_at: new Date(now.getTime() + validityDays * 86_400_000).toISOString(),
  };
}

function endpointUrl(generated: GeneratedAccess | undefined, host: string, port: number): string {
  if (generated === undefined) throw new Error('there are no credentials for the agent');
  return `https://${generated.user}:${generated.password}@${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** The agent listens on every address of its VM. */
function anyAddress(mbus: string): string {
  const url = new URL(mbus);
  url.hostname = '0.0.0.0';
  return url.toString().replace(/\/$/, '');
}

function certificateInEnv(
  env: JsonObject,
): { readonly ca?: string; readonly certificate?: string } | undefined {
  const bosh = env['bosh'];
  const mbus = isJsonObject(bosh) ? bosh['mbus'] : undefined;
  const certificate = isJsonObject(mbus) ? mbus['cert'] : undefined;
  if (!isJsonObject(certificate)) return undefined;
  const text = (value: Json | undefined) => (typeof value === 'string' && value !== '' ? value : undefined);
  const ca = text(certificate['ca']);
  const leaf = text(certificate['certificate']);
  return { ...(ca === undefined ? {} : { ca }), ...(leaf === undefined ? {} : { certificate: leaf }) };
}

function withCertificate(env: JsonObject, generated: GeneratedAccess): JsonObject {
  const bosh = isJsonObject(env['bosh']) ? env['bosh'] : {};
  const mbus = isJsonObject(bosh['mbus']) ? bosh['mbus'] : {};
  const cert = {
    ca: generated.ca,
    certificate: generated.certificate,
    private_key: generated.private_key,
  };
  return { ...env, bosh: { ...bosh, mbus: { ...mbus, cert } } };
}

/** Fails before anything is touched: the agent would never be trusted with this certificate. */
function checkCertificate(pem: string, host: string | undefined, ca: string | undefined, now: Date): void {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(pem);
  } catch (error) {
    throw new CertificateUnusable('The certificate at env.bosh.mbus.cert cannot be read', { cause: error });
  }
  const fits =
    host === undefined ||
    certificate.checkIP(host) !== undefined ||
    certificate.checkHost(host) !== undefined;
  if (!fits) {
    throw new CertificateUnusable(
      `The certificate at env.bosh.mbus.cert is not for '${host}' (it is for ${certificate.subjectAltName ?? 'no name'})`,
      {
        advice:
          'Add the address of mbus to alternative_names of the certificate, and remove it from the vars-store.',
      },
    );
  }
  if (now < new Date(certificate.validFrom)) {
    throw new CertificateUnusable(
      `The certificate at env.bosh.mbus.cert is valid only from ${certificate.validFrom}`,
      { advice: 'Check the clock of this machine.' },
    );
  }
  if (now > new Date(certificate.validTo)) {
    throw new CertificateUnusable(`The certificate at env.bosh.mbus.cert expired on ${certificate.validTo}`, {
      advice: 'Remove the variable from the vars-store; the next deploy makes a new one.',
    });
  }
  if (ca !== undefined) checkAuthority(certificate, ca, now);
}

function checkAuthority(certificate: X509Certificate, pem: string, now: Date): void {
  let authority: X509Certificate;
  try {
    authority = new X509Certificate(pem);
  } catch (error) {
    throw new CertificateUnusable(
      'The certificate of the authority (cloud_provider.cert.ca) cannot be read',
      {
        cause: error,
      },
    );
  }
  if (now > new Date(authority.validTo)) {
    throw new CertificateUnusable(
      `The authority of the certificate at env.bosh.mbus.cert expired on ${authority.validTo}`,
      { advice: 'Rotate it: microbosh vars rotate, then deploy.' },
    );
  }
  // A bundle may hold the right one further down; only a single authority can be said to be the wrong one.
  const isSingle = pem.split('-----BEGIN CERTIFICATE-----').length === 2;
  if (isSingle && !certificate.checkIssued(authority)) {
    throw new CertificateUnusable(
      'The certificate at env.bosh.mbus.cert was not issued by the authority in cloud_provider.cert.ca',
      { advice: 'Give the authority that signed it, or remove both from the vars-store.' },
    );
  }
}
