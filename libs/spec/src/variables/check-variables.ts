import { messageOf } from '@microbosh/errors';
import type { EvaluatedManifest } from '../evaluate-manifest.ts';
import type { Position } from '../yaml/source-file.ts';
import { childOf, positionOf, type YamlNode } from '../yaml/yaml-node.ts';
import { readCertificateOptions, type CertificateOptions } from './generate/certificate-options.ts';
import { passwordLength } from './generate/password.ts';
import { GenerationOptions } from './generate/read-options.ts';
import { isSignedBy, normalName, readCertificate, type CertificateFacts } from './read-certificate.ts';
import type { VariableDefinition } from './variable-definitions.ts';

export type VariableFindingKind =
  'expired' | 'expires-soon' | 'options-changed' | 'ca-changed' | 'missing' | 'unreadable';

/** Something about a variable that the operator should act on. Never contains a value. */
export interface VariableFinding {
  readonly name: string;
  readonly type: string;
  readonly kind: VariableFindingKind;
  readonly message: string;
  /** Where the variable is defined. */
  readonly position: Position;
  readonly expiresAt?: string;
}

export interface CheckVariablesOptions {
  readonly now: Date;
  /** Certificates that end within this many days are reported. Default 30. */
  readonly warnDays?: number;
}

const DAY_MS = 86_400_000;

/**
 * Compares the stored values with their definitions: what has expired or will, and what would look different if it
 * were generated today. The original keeps such values silently.
 */
export function checkVariables(
  manifest: Pick<EvaluatedManifest, 'definitions' | 'variable'>,
  options: CheckVariablesOptions,
): VariableFinding[] {
  return manifest.definitions.flatMap((definition) => {
    const found = manifest.variable(definition.name);
    const note = noteFor(definition);
    if (found === undefined) return definition.type === '' ? [] : [note('missing', 'has no value')];
    try {
      if (definition.type === 'certificate')
        return checkCertificate(definition, found, manifest, options, note);
      if (!found.stored) return [];
      if (definition.type === 'password') return checkPassword(definition, found.value, note);
      if (definition.type === 'user') return checkUser(definition, found.value, note);
      return [];
    } catch (error) {
      return [note('unreadable', `cannot be checked: ${messageOf(error)}`)];
    }
  });
}

type Note = (kind: VariableFindingKind, problem: string, expiresAt?: Date) => VariableFinding;

function noteFor(definition: VariableDefinition): Note {
  const { name, type, node } = definition;
  return (kind, problem, expiresAt) => ({
    name,
    type,
    kind,
    message: `Variable '${name}' (${type}) ${problem}`,
    position: positionOf(node),
    ...(expiresAt === undefined ? {} : { expiresAt: expiresAt.toISOString() }),
  });
}

function checkCertificate(
  definition: VariableDefinition,
  found: { readonly value: YamlNode; readonly stored: boolean },
  manifest: Pick<EvaluatedManifest, 'variable'>,
  options: CheckVariablesOptions,
  note: Note,
): VariableFinding[] {
  const pem = textOf(childOf(found.value, 'certificate'));
  const facts = pem === undefined ? undefined : readCertificate(pem);
  if (pem === undefined || facts === undefined) return [note('unreadable', 'holds no readable certificate')];
  const findings = checkExpiry(facts, options, note);
  // A value that the operator supplied need not look like the definition.
  if (!found.stored) return findings;
  const wanted = readCertificateOptions(definition.options);
  const differences = certificateDifferences(wanted, facts);
  if (differences.length > 0)
    findings.push(note('options-changed', `differs from its options: ${differences.join('; ')}`));
  if (wanted.ca !== undefined) {
    const ca = textOf(childOf(manifest.variable(wanted.ca)?.value, 'certificate'));
    if (ca !== undefined && !isSignedBy(pem, ca)) {
      findings.push(note('ca-changed', `is not signed by the present certificate of '${wanted.ca}'`));
    }
  }
  return findings;
}

function checkExpiry(facts: CertificateFacts, options: CheckVariablesOptions, note: Note): VariableFinding[] {
  const { notAfter } = facts;
  const left = notAfter.getTime() - options.now.getTime();
  const day = notAfter.toISOString().slice(0, 10);
  if (left <= 0) return [note('expired', `expired on ${day}`, notAfter)];
  const days = Math.floor(left / DAY_MS);
  if (days >= (options.warnDays ?? 30)) return [];
  return [note('expires-soon', `expires on ${day}, in ${days} ${days === 1 ? 'day' : 'days'}`, notAfter)];
}

function certificateDifferences(wanted: CertificateOptions, facts: CertificateFacts): string[] {
  const pairs: readonly (readonly [string, string, string])[] = [
    ['common_name', wanted.commonName, facts.commonName],
    ['organization', wanted.organization, facts.organization],
    ['is_ca', String(wanted.isCa), String(facts.isCa)],
    ['key_length', String(wanted.keyLength), String(facts.keyLength ?? 'unknown')],
    ['duration', String(wanted.durationDays), String(facts.durationDays)],
    ['extended_key_usage', listText(wanted.extendedKeyUsage), listText(facts.extendedKeyUsage)],
    ['key_usage', listText(wanted.keyUsage), listText(facts.keyUsage)],
  ];
  const differences = pairs
    .filter(([, want, have]) => want !== have)
    .map(([name, want, have]) => `${name} is '${have}', wanted '${want}'`);
  const wantNames = listText(wanted.alternativeNames.map(normalName));
  if (wantNames !== listText(facts.alternativeNames.map(normalName))) {
    differences.push(
      `alternative_names are '${listText(facts.alternativeNames)}', wanted '${listText(wanted.alternativeNames)}'`,
    );
  }
  return differences;
}

function checkPassword(definition: VariableDefinition, value: YamlNode, note: Note): VariableFinding[] {
  const wanted = passwordLength(new GenerationOptions('password', definition.options, ['length']));
  const text = textOf(value);
  if (text === undefined) return [note('unreadable', 'is not text')];
  if (text.length === wanted) return [];
  return [note('options-changed', `differs from its options: length is ${text.length}, wanted ${wanted}`)];
}

function checkUser(definition: VariableDefinition, value: YamlNode, note: Note): VariableFinding[] {
  const wanted = new GenerationOptions('user', definition.options, ['username', 'length']).text('username');
  const present = textOf(childOf(value, 'username'));
  if (wanted === undefined || wanted === present) return [];
  return [
    note('options-changed', `differs from its options: username is '${present ?? ''}', wanted '${wanted}'`),
  ];
}

function textOf(node: YamlNode | undefined): string | undefined {
  return node?.kind === 'scalar' && node.type === 'string' ? node.value : undefined;
}

function listText(items: readonly string[]): string {
  return [...items].sort().join(', ');
}
