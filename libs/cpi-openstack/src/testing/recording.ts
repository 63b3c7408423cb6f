import { isJsonObject } from '@microbosh/errors';
import type { Json, JsonObject } from '@microbosh/errors';

export type RecordedService = 'identity' | 'compute' | 'network' | 'image' | 'volume';

/** A request as a service has got it, and its answer. */
export interface Exchange {
  readonly service: RecordedService;
  readonly method: string;
  /** Below the endpoint in the catalog, with its query. */
  readonly path: string;
  readonly status: number;
  /** Null: none, or the bytes of an upload. */
  readonly request: Json;
  readonly answer: Json;
}

/** What one call of the lifecycle had the CPI send. */
export interface RecordedCall {
  readonly call: string;
  readonly exchanges: readonly Exchange[];
}

/** What stands between the origin of a service and the paths that the CPI names. */
const prefixes: Readonly<Record<RecordedService, RegExp>> = {
  identity: /^\/v3/,
  compute: /^\/v2\.1/,
  network: /^\/v2\.0/,
  image: /^\/v2/,
  volume: /^\/v3\/[^/]+/,
};

export function exchangeOf(
  service: RecordedService,
  seen: {
    readonly method: string;
    /** From the origin of the service on. */
    readonly path: string;
    readonly status: number;
    readonly requestBody: string;
    readonly answerBody: string;
  },
): Exchange {
  return {
    service,
    method: seen.method,
    path: seen.path.replace(prefixes[service], ''),
    status: seen.status,
    request: jsonOf(seen.requestBody),
    answer: jsonOf(seen.answerBody),
  };
}

function jsonOf(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return null;
  }
}

/** Without the looks that saw what the one before had seen: how many there are is a matter of how busy the services were. */
export function withoutRepeats(exchanges: readonly Exchange[]): readonly Exchange[] {
  const last = new Map<string, string>();
  return exchanges.filter(({ service, method, path, status, answer }) => {
    if (method !== 'GET') return true;
    const look = `${service} ${path}`;
    const seen = JSON.stringify([status, answer]);
    const isNew = last.get(look) !== seen;
    last.set(look, seen);
    return isNew;
  });
}

/** Values that are not to be kept, whatever service they come from. */
const secretKeys = new Set(['password', 'secret', 'adminPass', 'user_data', 'public_key', 'fingerprint']);

const id = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{32}\b/g;

/**
 * Takes out of recorded calls what belongs to one cloud only: secrets, and ids, each of which becomes the same counted one
 * wherever it stands. `kept` are ids that follow from the tokens of the calls.
 */
export function withoutPlace(
  calls: readonly RecordedCall[],
  options: {
    readonly kept: ReadonlySet<string>;
    /** Origins of the services, and what takes their place. */
    readonly origins: ReadonlyMap<string, string>;
  },
): { readonly calls: readonly RecordedCall[]; readonly idOf: (id: string) => string } {
  const ids = new Map<string, string>();
  const idOf = (found: string): string => {
    if (options.kept.has(found)) return found;
    const known = ids.get(found);
    if (known !== undefined) return known;
    const number = String(ids.size + 1).padStart(12, '0');
    const replacement = found.includes('-') ? `00000000-0000-4000-8000-${number}` : number.padStart(32, '0');
    ids.set(found, replacement);
    return replacement;
  };
  const text = (value: string): string => {
    let result = value.replace(id, idOf);
    for (const [origin, name] of options.origins) result = result.replaceAll(origin, name);
    return result.replace(/http:\/\/127\.0\.0\.1:\d+/g, 'http://other.recorded');
  };
  const clean = (value: Json): Json => {
    if (typeof value === 'string') return text(value);
    if (Array.isArray(value)) return (value as readonly Json[]).map(clean);
    if (!isJsonObject(value)) return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, inner]) => [
        text(key),
        secretKeys.has(key) && typeof inner !== 'object' ? 'removed' : clean(inner),
      ]),
    );
  };
  return {
    calls: calls.map(({ call, exchanges }) => ({
      call,
      exchanges: exchanges.map((exchange) => ({
        ...exchange,
        path: text(exchange.path),
        request: clean(exchange.request),
        answer: clean(exchange.answer),
      })),
    })),
    idOf,
  };
}

/** The same for every object of a kind: `GET /servers/{id}/os-volume_attachments`. */
export function routeOf({ service, method, path }: Pick<Exchange, 'service' | 'method' | 'path'>): string {
  const bare = path.replace(/\?.*$/, '').replace(/\/(?=[^/]*[0-9])[0-9a-z-]+/gi, '/{id}');
  return `${method} ${service} ${bare === '' ? '/' : bare}`;
}

/** Types of a value's parts: field by field, elements of a list together. */
export interface Shape {
  readonly types: ReadonlySet<string>;
  readonly fields: ReadonlyMap<string, Shape>;
  /** Fields that every object seen here has. */
  readonly always: ReadonlySet<string>;
  readonly element: Shape | undefined;
}

/** Objects whose keys are data: metadata, addresses by network, limits, extra specifications. */
const openFields = new Set(['metadata', 'addresses', 'extra_specs', 'scheduler_hints']);

export function shapeOf(values: readonly Json[], field = ''): Shape {
  const objects = values.filter(isJsonObject);
  const lists = values.filter((value) => Array.isArray(value)) as readonly (readonly Json[])[];
  const names = openFields.has(field) ? [] : [...new Set(objects.flatMap((object) => Object.keys(object)))];
  const fields = new Map<string, Shape>();
  for (const name of names) {
    const present = objects.filter((object) => Object.hasOwn(object, name));
    fields.set(
      name,
      shapeOf(
        present.map((object) => object[name] ?? null),
        name,
      ),
    );
  }
  const elements = lists.flat();
  return {
    types: new Set(values.map(typeOf)),
    fields,
    always: new Set(names.filter((name) => objects.every((object) => Object.hasOwn(object, name)))),
    element: elements.length === 0 ? undefined : shapeOf(elements),
  };
}

function typeOf(value: Json): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'list' : typeof value;
}

/** Where `actual` is not like `expected`; a part that was only ever null or empty on one side proves nothing. */
export function differences(actual: Shape, expected: Shape, at = ''): readonly string[] {
  const found: string[] = [];
  const known = [...expected.types];
  for (const type of actual.types) {
    if (type === 'null' || (known.length === 1 && known[0] === 'null') || expected.types.has(type)) continue;
    found.push(`${at} is a ${type}, not a ${known.join(' or ')}`);
  }
  for (const [name, shape] of actual.fields) {
    const other = expected.fields.get(name);
    if (other === undefined) found.push(`${at}.${name} is not there`);
    else found.push(...differences(shape, other, `${at}.${name}`));
  }
  for (const name of expected.always) {
    if (actual.types.has('object') && !actual.fields.has(name)) found.push(`${at}.${name} is missing`);
  }
  if (actual.element !== undefined && expected.element !== undefined) {
    found.push(...differences(actual.element, expected.element, `${at}[]`));
  }
  return found;
}

export function objectIn(value: Json, key: string): JsonObject {
  const inner = isJsonObject(value) ? value[key] : undefined;
  return isJsonObject(inner) ? inner : {};
}
