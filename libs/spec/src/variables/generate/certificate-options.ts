import type { YamlNode } from '../../yaml/yaml-node.ts';
import { invalidParameters } from './generation-error.ts';
import { GenerationOptions } from './read-options.ts';

export type ExtendedKeyUsageName = 'server_auth' | 'client_auth';

const keyUsageNames = [
  'digital_signature',
  'non_repudiation',
  'key_encipherment',
  'data_encipherment',
  'key_agreement',
  'key_cert_sign',
  'crl_sign',
  'encipher_only',
  'decipher_only',
] as const;

export type KeyUsageName = (typeof keyUsageNames)[number];

/** Options of a `certificate` variable with their defaults (reference create-env §3.5). */
export interface CertificateOptions {
  readonly commonName: string;
  readonly organization: string;
  readonly alternativeNames: readonly string[];
  readonly isCa: boolean;
  /** Variable that signs; undefined: the certificate signs itself. */
  readonly ca: string | undefined;
  /** Empty for a CA. */
  readonly extendedKeyUsage: readonly ExtendedKeyUsageName[];
  readonly keyUsage: readonly KeyUsageName[];
  readonly durationDays: number;
  readonly keyLength: number;
}

const known = [
  'common_name',
  'organization',
  'alternative_names',
  'is_ca',
  'ca',
  'extended_key_usage',
  'key_usage',
  'duration',
  'key_length',
];

const MAX_DURATION_DAYS = 365_000;

export function readCertificateOptions(node: YamlNode | undefined): CertificateOptions {
  const options = new GenerationOptions('certificate', node, known);
  const isCa = options.flag('is_ca');
  const ca = options.text('ca') ?? '';
  if (ca === '' && !isCa) throw invalidParameters('certificate', 'Missing required CA name');
  const duration = options.integer('duration') ?? 0;
  if (duration > MAX_DURATION_DAYS) {
    throw invalidParameters('certificate', `duration is at most ${MAX_DURATION_DAYS} days`);
  }
  return {
    commonName: options.text('common_name') ?? '',
    organization: options.text('organization') ?? 'Cloud Foundry',
    alternativeNames: isCa ? [] : (options.list('alternative_names') ?? []),
    isCa,
    ca: ca === '' ? undefined : ca,
    extendedKeyUsage: isCa
      ? []
      : (options.list('extended_key_usage') ?? ['server_auth']).map(extendedKeyUsage),
    keyUsage: options.list('key_usage')?.map(keyUsage) ?? defaultKeyUsage(isCa),
    durationDays: duration > 0 ? duration : 365,
    keyLength: keyLength(options.integer('key_length') ?? 3072),
  };
}

function defaultKeyUsage(isCa: boolean): KeyUsageName[] {
  return isCa ? ['key_cert_sign', 'crl_sign'] : ['key_encipherment', 'digital_signature'];
}

function keyLength(bits: number): number {
  if (bits === 2048 || bits === 3072 || bits === 4096) return bits;
  throw invalidParameters('certificate', `Invalid key_length: ${bits}, it must be 2048, 3072 or 4096`);
}

function extendedKeyUsage(name: string): ExtendedKeyUsageName {
  if (name === 'server_auth' || name === 'client_auth') return name;
  throw invalidParameters('certificate', `Unsupported extended key usage value: ${name}`);
}

function keyUsage(name: string): KeyUsageName {
  const found = keyUsageNames.find((candidate) => candidate === name);
  if (found === undefined) throw invalidParameters('certificate', `Unsupported key usage value: ${name}`);
  return found;
}
