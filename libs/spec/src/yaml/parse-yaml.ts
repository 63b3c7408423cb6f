import { CHOMPING_MODE, EVENT_ID, SCALAR_STYLE, getScalarValue } from 'js-yaml';
import type { AliasEvent, DocumentEvent, Event, MappingEvent, ScalarEvent, SequenceEvent } from 'js-yaml';
import { parseLeniently, type ParsedText } from './lenient-events.ts';
import { keepOddBreaks, restoreBreaks } from './line-breaks.ts';
import { resolveScalar, type ResolvedScalar, type YamlDialect } from './resolve-scalar.ts';
import { SourceFile } from './source-file.ts';
import { YamlSyntaxError } from './yaml-errors.ts';
import {
  cloneNode,
  keyIdentity,
  mappingNode,
  nullNode,
  sequenceNode,
  type Place,
  type YamlMapping,
  type YamlNode,
  type YamlScalar,
} from './yaml-node.ts';

export interface ParseYamlOptions {
  /** Name shown in positions. */
  readonly file: string;
  /** Default `go-yaml-v2`. */
  readonly dialect?: YamlDialect;
}

/** Bounds what aliases can blow up; far above any manifest. */
const MAX_NODES = 2_000_000;
const STANDARD_TAG = 'tag:yaml.org,2002:';

/**
 * The only way YAML enters: the first document of the text as nodes that know their place. An empty text is null.
 * Throws `YamlSyntaxError`.
 */
export function parseYaml(text: string, options: ParseYamlOptions): YamlNode {
  const source = new SourceFile(options.file, text);
  const { start, end } = firstDocument(text);
  const { parsed, events } = parseLeniently(text.slice(start, end), start, source);
  return new Composer(source, parsed, events, options.dialect ?? 'go-yaml-v2').compose();
}

/**
 * Later documents are neither used nor checked. A line that begins with `---` or `...` always ends a document,
 * inside block scalars too, so the first one can be cut out before parsing.
 */
function firstDocument(text: string): { start: number; end: number } {
  const start = text.startsWith('\uFEFF') ? 1 : 0;
  const marker = /^(?:---|\.\.\.)(?=[ \t\r\n]|$)/gm;
  marker.lastIndex = start;
  const opening = marker.exec(text);
  if (opening === null) return { start, end: text.length };
  const before = text.slice(start, opening.index);
  const hasContent = /^[^#%\s]|^[ \t]+[^#\s]/m.test(before);
  if (hasContent || opening[0] === '...') return { start, end: opening.index };
  const closing = marker.exec(text);
  return { start, end: closing?.index ?? text.length };
}

class Composer {
  readonly #source: SourceFile;
  readonly #parsed: ParsedText;
  readonly #events: readonly Event[];
  readonly #dialect: YamlDialect;
  readonly #anchors = new Map<string, YamlNode | 'open'>();
  readonly #tagHandles = new Map<string, string>([['!!', STANDARD_TAG]]);
  #next = 0;
  #nodes = 0;
  #lastOffset = 0;

  constructor(source: SourceFile, parsed: ParsedText, events: readonly Event[], dialect: YamlDialect) {
    this.#source = source;
    this.#parsed = parsed;
    this.#events = events;
    this.#dialect = dialect;
  }

  compose(): YamlNode {
    const document = this.#events[this.#next];
    if (document?.type !== EVENT_ID.DOCUMENT) return nullNode(this.#placeAt(0));
    this.#next += 1;
    this.#readDirectives(document);
    const content = this.#events[this.#next];
    if (content === undefined || content.type === EVENT_ID.POP) return nullNode(this.#placeAt(0));
    return this.#node();
  }

  #readDirectives(document: DocumentEvent): void {
    for (const directive of document.directives) {
      if (directive.kind === 'tag') this.#tagHandles.set(directive.handle, directive.prefix);
    }
  }

  #node(): YamlNode {
    const event = this.#events[this.#next];
    this.#next += 1;
    this.#nodes += 1;
    switch (event?.type) {
      case EVENT_ID.SCALAR:
        return this.#anchored(event, this.#scalar(event));
      case EVENT_ID.SEQUENCE:
        return this.#sequence(event);
      case EVENT_ID.MAPPING:
        return this.#mapping(event);
      case EVENT_ID.ALIAS:
        return this.#alias(event);
      default:
        throw new Error('YAML events end inside a node');
    }
  }

  #anchored<Node extends YamlNode>(event: ScalarEvent | SequenceEvent | MappingEvent, node: Node): Node {
    const anchor = this.#slice(event.anchorStart, event.anchorEnd);
    if (anchor !== undefined) this.#anchors.set(anchor, node);
    return node;
  }

  #openAnchor(event: SequenceEvent | MappingEvent): void {
    const anchor = this.#slice(event.anchorStart, event.anchorEnd);
    if (anchor !== undefined) this.#anchors.set(anchor, 'open');
  }

  #sequence(event: SequenceEvent): YamlNode {
    this.#openAnchor(event);
    const node = sequenceNode([], this.#placeAt(event.start));
    this.#lastOffset = event.start;
    while (this.#events[this.#next]?.type !== EVENT_ID.POP) node.items.push(this.#node());
    this.#next += 1;
    return this.#anchored(event, node);
  }

  #mapping(event: MappingEvent): YamlNode {
    this.#openAnchor(event);
    const node = mappingNode(this.#placeAt(event.start));
    this.#lastOffset = event.start;
    const own = new Set<string>();
    while (this.#events[this.#next]?.type !== EVENT_ID.POP) {
      const keyEvent = this.#events[this.#next];
      const key = this.#node();
      const value = this.#node();
      if (isMergeText(key) && keyEvent?.type === EVENT_ID.SCALAR && this.#isMergeKey(keyEvent))
        this.#merge(node, value, own);
      else this.#put(node, key, value, own);
    }
    this.#next += 1;
    return this.#anchored(event, node);
  }

  /** `own`: keys that the mapping itself has, apart from merged ones. */
  #put(mapping: YamlMapping, key: YamlNode, value: YamlNode, own: Set<string>): void {
    if (key.kind !== 'scalar')
      throw this.#error('Invalid map key: a map or a list cannot be a key', key.place);
    const identity = keyIdentity(key);
    if (this.#dialect !== 'go-yaml-v2' && own.has(identity)) {
      throw this.#error(`Map has the key '${String(key.value)}' twice`, key.place);
    }
    own.add(identity);
    mapping.entries.set(identity, { key, value });
  }

  #isMergeKey(event: ScalarEvent): boolean {
    const tag = this.#tag(event);
    return tag === undefined ? event.style === SCALAR_STYLE.PLAIN : tag === `${STANDARD_TAG}merge`;
  }

  /**
   * Merged pairs take effect where `<<` stands: they beat the keys before it and yield to the keys after it. Only
   * yaml.v3 lets the mapping's own keys win always.
   */
  #merge(mapping: YamlMapping, value: YamlNode, own: ReadonlySet<string>): void {
    const sources = value.kind === 'sequence' ? [...value.items].reverse() : [value];
    for (const source of sources) {
      if (source.kind !== 'mapping') {
        throw this.#error('Map merge requires map or sequence of maps as the value', value.place);
      }
      for (const [identity, entry] of source.entries) {
        if (this.#dialect === 'go-yaml-v3' && own.has(identity)) continue;
        mapping.entries.set(identity, { key: entry.key, value: cloneNode(entry.value) });
      }
    }
  }

  #alias(event: AliasEvent): YamlNode {
    const name = this.#slice(event.anchorStart, event.anchorEnd) ?? '';
    const target = this.#anchors.get(name);
    const place = this.#placeAt(event.anchorStart);
    if (target === undefined) throw this.#error('Unknown anchor referenced', place);
    if (target === 'open') throw this.#error('Anchor value contains itself', place);
    this.#nodes += sizeOf(target, MAX_NODES);
    if (this.#nodes > MAX_NODES) throw this.#error('Document contains excessive aliasing', place);
    return cloneNode(target);
  }

  #scalar(event: ScalarEvent): YamlScalar {
    const offset =
      event.valueStart >= 0 ? event.valueStart : Math.max(event.tagEnd, event.anchorEnd, this.#lastOffset);
    this.#lastOffset = offset;
    const quoted = event.style === SCALAR_STYLE.SINGLE_QUOTED || event.style === SCALAR_STYLE.DOUBLE_QUOTED;
    const place = this.#placeAt(quoted ? Math.max(0, offset - 1) : offset);
    const text = this.#text(event);
    const tag = this.#tag(event);
    const plain = event.style === SCALAR_STYLE.PLAIN;
    if (tag === undefined) {
      const resolved: ResolvedScalar = plain
        ? resolveScalar(text, this.#dialect)
        : { type: 'string', value: text };
      return { kind: 'scalar', ...resolved, place, text };
    }
    return { kind: 'scalar', ...this.#tagged(tag, text, place), place, text };
  }

  #tagged(tag: string, text: string, place: Place): ResolvedScalar {
    if (!tag.startsWith(STANDARD_TAG)) return { type: 'string', value: text };
    const kind = tag.slice(STANDARD_TAG.length);
    switch (kind) {
      case 'binary':
        return { type: 'string', value: this.#binary(text, place) };
      case 'bool':
      case 'int':
      case 'null':
      case 'float': {
        const resolved = resolveScalar(text, this.#dialect);
        if (resolved.type === kind) return resolved;
        if (kind === 'float' && resolved.type === 'int')
          return { type: 'float', value: Number(resolved.value) };
        throw this.#error(`Cannot decode the text as a !!${kind}`, place);
      }
      default:
        return { type: 'string', value: text };
    }
  }

  #binary(text: string, place: Place): string {
    const compact = text.replaceAll(/\s/g, '');
    if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(compact)) {
      throw this.#error('!!binary value contains invalid base64 data', place);
    }
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
        Buffer.from(compact, 'base64'),
      );
    } catch {
      throw this.#error('!!binary value is not UTF-8 text', place);
    }
  }

  #text(event: ScalarEvent): string {
    if (event.valueStart < 0) return '';
    const block = event.style === SCALAR_STYLE.LITERAL_BLOCK || event.style === SCALAR_STYLE.FOLDED_BLOCK;
    const isDocument = this.#next === 2;
    const text = this.#textWithItsBreaks(block && isDocument ? this.#withStatedIndent(event) : event);
    // A block whose last line has no line break, because the text ends there, gets none.
    const cut =
      block && event.chomping !== CHOMPING_MODE.STRIP && event.valueEnd >= this.#parsed.input.length;
    return cut && !this.#parsed.input.endsWith('\n') && text.endsWith('\n') ? text.slice(0, -1) : text;
  }

  /** Of a block that is the whole document, YAML 1.2 counts the stated indentation from -1, the originals from 0. */
  #withStatedIndent(event: ScalarEvent): ScalarEvent {
    const header = this.#parsed.input.slice(0, event.valueStart);
    const stated = /[|>][-+]?([1-9])[-+]?[ \t]*(?:#.*)?\r?\n$/.exec(header)?.[1];
    return stated === undefined ? event : { ...event, indent: Number(stated) };
  }

  #textWithItsBreaks(event: ScalarEvent): string {
    const written = this.#parsed.written.slice(event.valueStart, event.valueEnd);
    if (!/[\u2028\u2029]/.test(written)) return getScalarValue(this.#parsed.input, event);
    switch (event.style) {
      case SCALAR_STYLE.LITERAL_BLOCK:
        return restoreBreaks(getScalarValue(this.#parsed.input, event), written);
      case SCALAR_STYLE.FOLDED_BLOCK:
        return getScalarValue(this.#parsed.input, event);
      default: {
        const kept = keepOddBreaks(written, event.style === SCALAR_STYLE.DOUBLE_QUOTED);
        return getScalarValue(kept, { ...event, valueStart: 0, valueEnd: kept.length, fast: false });
      }
    }
  }

  /** The full tag; undefined for untagged nodes. `!` alone means "a string". */
  #tag(event: ScalarEvent): string | undefined {
    const raw = this.#slice(event.tagStart, event.tagEnd);
    if (raw === undefined) return undefined;
    if (raw.startsWith('!<')) return raw.slice(2, -1);
    const handle = /^![^!]*!/.exec(raw)?.[0] ?? '!';
    const prefix = this.#tagHandles.get(handle);
    return prefix === undefined ? raw : prefix + decodeURIComponent(raw.slice(handle.length));
  }

  #slice(start: number, end: number): string | undefined {
    return start < 0 ? undefined : this.#parsed.input.slice(start, end);
  }

  #placeAt(offset: number): Place {
    return { source: this.#source, offset: this.#parsed.sourceOffset(Math.max(0, offset)) };
  }

  #error(problem: string, place: Place): YamlSyntaxError {
    return new YamlSyntaxError(problem, place.source.positionAt(place.offset));
  }
}

function isMergeText(key: YamlNode): boolean {
  return key.kind === 'scalar' && key.text === '<<';
}

/** Number of nodes, counted up to a limit. */
function sizeOf(node: YamlNode, limit: number): number {
  if (limit <= 0 || node.kind === 'scalar') return 1;
  let size = 1;
  const children =
    node.kind === 'sequence' ? node.items : [...node.entries.values()].map((entry) => entry.value);
  for (const child of children) {
    size += sizeOf(child, limit - size);
    if (size > limit) break;
  }
  return size;
}
