import type { TimeLimits } from '../deployment-model.ts';
import type { DocumentCursor } from './document-cursor.ts';
import { suggest } from './suggest.ts';

/** Names of `limits` in a manifest, and of `--limit` on the command line. */
export const limitNames = {
  agent: 'agentMs',
  known_agent: 'knownAgentMs',
  cpi: 'cpiMs',
  task: 'taskMs',
  drain: 'drainMs',
  compile: 'compileMs',
  copy: 'copyMs',
  old_disk: 'oldDiskMs',
} as const satisfies Record<string, keyof TimeLimits>;

const units: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** `90`, `90s`, `10m`, `2h`, `1d`, `250ms`. Undefined: not a duration. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d+)(ms|s|m|h|d)?$/.exec(text.trim());
  if (match === null) return undefined;
  return Number(match[1]) * (units[match[2] ?? 's'] ?? 1_000);
}

/** `name=duration` of the command line. Undefined: not one. */
export function parseLimit(text: string): TimeLimits | undefined {
  const split = text.indexOf('=');
  const name = text.slice(0, split);
  const value = parseDuration(text.slice(split + 1));
  if (split < 0 || value === undefined || !isLimitName(name)) return undefined;
  return { [limitNames[name]]: value };
}

/** Our key `limits` of both manifests. */
export function readLimits(cursor: DocumentCursor): TimeLimits {
  const limits: { -readonly [K in keyof TimeLimits]: TimeLimits[K] } = {};
  for (const name of Object.keys(cursor.map())) {
    const entry = cursor.get(name);
    if (!isLimitName(name)) {
      entry.fail(`limits.${name} is not a limit`, suggest(name, Object.keys(limitNames)));
      continue;
    }
    const value = parseDuration(entry.text());
    if (value === undefined) entry.fail(`limits.${name} must be a duration such as 90s, 10m or 1d`);
    else limits[limitNames[name]] = value;
  }
  return limits;
}

function isLimitName(name: string): name is keyof typeof limitNames {
  return Object.hasOwn(limitNames, name);
}
