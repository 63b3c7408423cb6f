/** A place in a document, as ops files, `--path` and `((name.key))` spell it (reference create-env §4.2). */

export type Modifier = 'prev' | 'next' | 'before' | 'after';

export type PathToken =
  | { readonly kind: 'key'; readonly key: string; readonly optional: boolean }
  | { readonly kind: 'index'; readonly index: number; readonly modifiers: readonly Modifier[] }
  | { readonly kind: 'after-last' }
  | {
      readonly kind: 'match';
      readonly key: string;
      readonly value: string;
      readonly optional: boolean;
      readonly modifiers: readonly Modifier[];
    };

/** The tokens from the root; empty for the root itself. */
export type OpPath = readonly PathToken[];

/** Throws `Error` with the original's text; callers say where the path was written. */
export class PathSyntaxError extends Error {}

const MAX_TOKENS = 1000;

export function parseOpPath(text: string): OpPath {
  if (text === '') return [];
  if (!text.startsWith('/')) throw new PathSyntaxError("Expected to start with '/'");
  const pieces = text.slice(1).split('/');
  if (pieces.length > MAX_TOKENS) throw new PathSyntaxError(`Expected at most ${MAX_TOKENS} tokens`);
  const tokens: PathToken[] = [];
  let optional = false;
  pieces.forEach((piece, position) => {
    const [raw = '', ...modifierTexts] = piece.split(':');
    const modifiers = modifierTexts.map((modifier) => parseModifier(modifier, modifierTexts[0] ?? ''));
    const name = unescapeToken(raw);
    if (position === pieces.length - 1 && name === '-') {
      if (modifiers.length > 0) {
        throw new PathSyntaxError('Expected not to find any modifiers with after last index token');
      }
      tokens.push({ kind: 'after-last' });
      return;
    }
    const index = parseIndex(name);
    if (index !== undefined) {
      tokens.push({ kind: 'index', index, modifiers });
      return;
    }
    if (name.endsWith('?')) optional = true;
    const equals = name.indexOf('=');
    if (equals !== -1) {
      const value = withoutMark(name.slice(equals + 1));
      tokens.push({ kind: 'match', key: name.slice(0, equals), value, optional, modifiers });
      return;
    }
    if (modifiers.length > 0) throw new PathSyntaxError('Expected not to find any modifiers with key token');
    tokens.push({ kind: 'key', key: withoutMark(name), optional });
  });
  return tokens;
}

export function formatOpPath(path: OpPath): string {
  let optionalShown = false;
  const mark = (optional: boolean): string => {
    if (!optional || optionalShown) return '';
    optionalShown = true;
    return '?';
  };
  const texts = path.map((token) => {
    switch (token.kind) {
      case 'key':
        return escapeToken(token.key) + mark(token.optional);
      case 'index':
        return `${token.index}${modifierText(token.modifiers)}`;
      case 'after-last':
        return '-';
      case 'match': {
        const pair = `${escapeToken(token.key)}=${escapeToken(token.value)}`;
        return pair + mark(token.optional) + modifierText(token.modifiers);
      }
    }
  });
  return texts.map((text) => `/${text}`).join('');
}

export function escapeToken(text: string): string {
  return text.replace(/[~/:]/g, (char) => (char === '~' ? '~0' : char === '/' ? '~1' : '~7'));
}

function unescapeToken(text: string): string {
  return text.replace(/~[017]/g, (escape) => (escape === '~0' ? '~' : escape === '~1' ? '/' : ':'));
}

/** An integer of 64 bits in base ten, sign allowed. */
function parseIndex(text: string): number | undefined {
  if (!/^[-+]?[0-9]+$/.test(text)) return undefined;
  const value = BigInt(text.replace(/^\+/, ''));
  return value === BigInt.asIntN(64, value) ? Number(value) : undefined;
}

function parseModifier(text: string, first: string): Modifier {
  if (text === 'prev' || text === 'next' || text === 'before' || text === 'after') return text;
  throw new PathSyntaxError(
    `Expected to find one of the following modifiers: 'prev', 'next', 'before', or 'after' but found '${first}'`,
  );
}

function withoutMark(text: string): string {
  return text.endsWith('?') ? text.slice(0, -1) : text;
}

function modifierText(modifiers: readonly Modifier[]): string {
  return modifiers.map((modifier) => `:${modifier}`).join('');
}
