/**
 * What a plain scalar means, per dialect.
 *
 * - `go-yaml-v2`: gopkg.in/yaml.v2, used by create-env for manifests, ops files, variables and the vars-store
 *   (reference create-env §2.1).
 * - `go-yaml-v3`: gopkg.in/yaml.v3, used for release.MF: duplicate keys are errors, only `true`/`false` are booleans.
 * - `psych`: Ruby's YAML 1.1, used by the micro plug-in for micro_bosh.yml and bosh-deployments.yml.
 */
export type YamlDialect = 'go-yaml-v2' | 'go-yaml-v3' | 'psych';

export type ResolvedScalar =
  | { readonly type: 'null'; readonly value: null }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'int'; readonly value: number | bigint }
  | { readonly type: 'float'; readonly value: number }
  | { readonly type: 'string'; readonly value: string };

const NULL: ResolvedScalar = { type: 'null', value: null };
const TRUE: ResolvedScalar = { type: 'bool', value: true };
const FALSE: ResolvedScalar = { type: 'bool', value: false };

const commonWords: ReadonlyMap<string, ResolvedScalar> = new Map<string, ResolvedScalar>([
  ...['', '~', 'null', 'Null', 'NULL'].map((word) => [word, NULL] as const),
  ...['true', 'True', 'TRUE'].map((word) => [word, TRUE] as const),
  ...['false', 'False', 'FALSE'].map((word) => [word, FALSE] as const),
  ...['.nan', '.NaN', '.NAN'].map((word) => [word, { type: 'float', value: NaN }] as const),
  ...['.inf', '.Inf', '.INF', '+.inf', '+.Inf', '+.INF'].map(
    (word) => [word, { type: 'float', value: Infinity }] as const,
  ),
  ...['-.inf', '-.Inf', '-.INF'].map((word) => [word, { type: 'float', value: -Infinity }] as const),
]);

const yaml11Words: ReadonlyMap<string, ResolvedScalar> = new Map<string, ResolvedScalar>([
  ...commonWords,
  ...['y', 'Y', 'yes', 'Yes', 'YES', 'on', 'On', 'ON'].map((word) => [word, TRUE] as const),
  ...['n', 'N', 'no', 'No', 'NO', 'off', 'Off', 'OFF'].map((word) => [word, FALSE] as const),
]);

const psychWords = /^(?:(yes|true|on)|(no|false|off))$/i;

const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);
const UINT64_MAX = 2n ** 64n - 1n;

export function resolveScalar(text: string, dialect: YamlDialect): ResolvedScalar {
  switch (dialect) {
    case 'go-yaml-v2':
      return resolveGo(text, yaml11Words);
    case 'go-yaml-v3':
      return resolveGo(text, commonWords);
    case 'psych':
      return resolvePsych(text);
  }
}

function resolveGo(text: string, words: ReadonlyMap<string, ResolvedScalar>): ResolvedScalar {
  const word = words.get(text);
  if (word !== undefined) return word;
  const first = text.charAt(0);
  if (first === '.') {
    const float = /^\.[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+(?:_[0-9]+)*)?$/.test(text);
    return float ? goFloat(text.replaceAll('_', ''), text) : string(text);
  }
  if (!/^[-+0-9]/.test(text) || isTimestamp(text)) return string(text);
  const plain = text.replaceAll('_', '');
  return goInteger(plain) ?? (isGoFloat(plain) ? goFloat(plain, text) : string(text));
}

function isGoFloat(text: string): boolean {
  return /^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/.test(text);
}

function goFloat(digits: string, text: string): ResolvedScalar {
  const value = Number(digits);
  return Number.isFinite(value) ? { type: 'float', value } : string(text);
}

/** Within 64 bits, signed or not; an explicit sign means the signed form only. */
function goInteger(text: string): ResolvedScalar | undefined {
  const value = wholeNumber(text);
  const max = /^[-+]/.test(text) ? INT64_MAX : UINT64_MAX;
  return value === undefined || value < INT64_MIN || value > max ? undefined : integer(value);
}

/** Sign, then `0x`, `0b`, `0o`, a leading `0` (octal) or decimal digits. */
function wholeNumber(text: string): bigint | undefined {
  const match = /^([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]([0-7]+)|0([0-7]+)|(0|[1-9][0-9]*))$/.exec(
    text,
  );
  if (match === null) return undefined;
  const [, sign, hex, binary, octal, oldOctal, decimal] = match;
  const magnitude =
    hex !== undefined
      ? BigInt(`0x${hex}`)
      : binary !== undefined
        ? BigInt(`0b${binary}`)
        : octal !== undefined || oldOctal !== undefined
          ? BigInt(`0o${octal ?? oldOctal ?? ''}`)
          : BigInt(decimal ?? '');
  return sign === '-' ? -magnitude : magnitude;
}

function integer(value: bigint): ResolvedScalar {
  const small = Number(value);
  return { type: 'int', value: Number.isSafeInteger(small) ? small : value };
}

function string(value: string): ResolvedScalar {
  return { type: 'string', value };
}

/**
 * Whether go-yaml reads the text as a timestamp. Such a scalar stays a string when it is decoded, but a string like
 * it is written in quotes.
 */
export function isTimestamp(text: string): boolean {
  const date = /^(\d{4})-(\d{1,2})-(\d{1,2})(.*)$/s.exec(text);
  if (date === null) return false;
  const [, year = '', month = '', day = '', rest = ''] = date;
  if (!isDate(Number(year), Number(month), Number(day))) return false;
  if (rest === '') return true;
  const time = /^([Tt ])(\d{1,2}):(\d{1,2}):(\d{1,2})(?:[.,]\d+)?(Z|[-+]\d{2}:\d{2})?$/.exec(rest);
  if (time === null) return false;
  const [, separator, hour, minute, second, zone] = time;
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59) return false;
  if (separator === ' ') return zone === undefined;
  if (zone === undefined) return false;
  return zone === 'Z' || (Number(zone.slice(1, 3)) <= 24 && Number(zone.slice(4, 6)) <= 60);
}

function isDate(year: number, month: number, day: number): boolean {
  if (month < 1 || month > 12 || day < 1) return false;
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1] ?? 0;
  return day <= days;
}

function resolvePsych(text: string): ResolvedScalar {
  if (text === '' || text === '~' || /^null$/i.test(text)) return NULL;
  const bool = psychWords.exec(text);
  if (bool !== null) return bool[1] === undefined ? FALSE : TRUE;
  if (/^\+?\.inf$/i.test(text)) return { type: 'float', value: Infinity };
  if (/^-\.inf$/i.test(text)) return { type: 'float', value: -Infinity };
  if (/^\.nan$/i.test(text)) return { type: 'float', value: NaN };
  if (/^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9]){1,2}$/.test(text)) return sexagesimal(text);
  if (/^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*$/.test(text)) return sexagesimal(text);
  const plain = text.replaceAll(/[,_]/g, '');
  if (/^[-+]?(?:0|[1-9](?:[0-9]|,[0-9]|_[0-9])*|0[0-7_,]+|0x[0-9a-fA-F_,]+|0b[01_,]+)$/.test(text)) {
    const value = wholeNumber(plain);
    if (value !== undefined) return integer(value);
  }
  // A float has a point, and its exponent a sign.
  if (/^[-+]?(?:[0-9][0-9_,]*)?\.[0-9]*(?:[eE][-+][0-9]+)?$/.test(text) && /^[-+]?\.?[0-9]/.test(text)) {
    return { type: 'float', value: Number(plain) };
  }
  return string(text);
}

/** Psych gives the parts the weights 3600, 60 and 1 however many there are, and lets only the first carry the sign. */
function sexagesimal(text: string): ResolvedScalar {
  let value = 0;
  for (const [index, part] of text.replaceAll('_', '').split(':').entries()) {
    value += Number(part) * 60 ** Math.abs(index - 2);
  }
  return text.includes('.') ? { type: 'float', value } : { type: 'int', value };
}
