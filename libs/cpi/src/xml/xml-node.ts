import { XMLParser } from 'fast-xml-parser';

type Parsed = Readonly<Record<string, unknown>>;
export type XmlAttributes = Readonly<Record<string, string>>;

const parser = new XMLParser({
  preserveOrder: true,
  ignoreAttributes: false,
  attributeNamePrefix: '',
  parseTagValue: false,
  parseAttributeValue: false,
  trimValues: false,
  processEntities: true,
  // Character references, too.
  htmlEntities: true,
});

const withoutPrefix = (name: string): string => name.slice(name.indexOf(':') + 1);

/**
 * An element of an answer. Look-ups go by local names, because servers choose their prefixes; the names as they were
 * written are kept for those who send an element back.
 */
export class XmlNode {
  /** Without prefix. */
  readonly name: string;
  readonly qualifiedName: string;
  /** As written, declarations of namespaces among them. */
  readonly attributes: XmlAttributes;
  readonly text: string;
  readonly children: readonly XmlNode[];
  /** Declarations of namespaces that ancestors have made. */
  readonly #inherited: XmlAttributes;

  constructor(
    qualifiedName: string,
    attributes: XmlAttributes,
    children: readonly XmlNode[],
    text: string,
    inherited: XmlAttributes = {},
  ) {
    this.name = withoutPrefix(qualifiedName);
    this.qualifiedName = qualifiedName;
    this.attributes = attributes;
    this.children = children;
    this.text = text;
    this.#inherited = inherited;
  }

  /** Of `xsi:type`, whatever the prefix: the class of a data object. */
  get type(): string | undefined {
    const found = Object.entries(this.attributes).find(([name]) => /^[^:]+:type$/.test(name));
    return found === undefined ? undefined : withoutPrefix(found[1]);
  }

  /** An attribute by its local name. */
  attribute(name: string): string | undefined {
    const found = Object.entries(this.attributes).find(
      ([key]) => withoutPrefix(key) === name && !key.startsWith('xmlns'),
    );
    return found?.[1];
  }

  /** The first child with this name, at the end of a path of names. */
  at(...path: readonly string[]): XmlNode | undefined {
    return path.reduce<XmlNode | undefined>(
      (node, name) => node?.children.find((child) => child.name === name),
      this,
    );
  }

  all(name: string): readonly XmlNode[] {
    return this.children.filter((child) => child.name === name);
  }

  textAt(...path: readonly string[]): string | undefined {
    return this.at(...path)?.text;
  }

  numberAt(...path: readonly string[]): number | undefined {
    const text = this.textAt(...path);
    return text === undefined || text === '' ? undefined : Number(text);
  }

  /** The same element with other attributes, children or text. */
  with(change: {
    readonly attributes?: XmlAttributes;
    readonly children?: readonly XmlNode[];
    readonly text?: string;
  }): XmlNode {
    const { attributes = this.attributes, children = this.children, text = this.text } = change;
    return new XmlNode(this.qualifiedName, attributes, children, text, this.#inherited);
  }

  /** As XML that stands by itself: with the namespaces that were declared around it. */
  render(): string {
    return rendered(this, { ...this.#inherited, ...this.attributes });
  }
}

function rendered({ qualifiedName, children, text }: XmlNode, attributes: XmlAttributes): string {
  const written = Object.entries(attributes).map(([name, value]) => ` ${name}="${escapeXml(value)}"`);
  const content =
    children.length > 0
      ? children.map((child) => rendered(child, child.attributes)).join('')
      : escapeXml(text);
  return `<${qualifiedName}${written.join('')}>${content}</${qualifiedName}>`;
}

export function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** The document's root element. Throws what the parser throws for text that is not XML. */
export function parseXml(text: string): XmlNode {
  const elements = (parser.parse(text, true) as readonly Parsed[]).flatMap((parsed) => toNodes(parsed, {}));
  const [root] = elements.filter(({ name }) => !name.startsWith('?'));
  if (root === undefined) throw new Error('the answer has no element');
  return root;
}

function toNodes(parsed: Parsed, inherited: XmlAttributes): XmlNode[] {
  const attributes = Object.fromEntries(
    Object.entries((parsed[':@'] ?? {}) as Parsed).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string',
    ),
  );
  const declared = Object.entries(attributes).filter(([name]) => /^xmlns(:|$)/.test(name));
  const inside = declared.length === 0 ? inherited : { ...inherited, ...Object.fromEntries(declared) };
  return Object.entries(parsed)
    .filter(([name]) => name !== ':@' && name !== '#text')
    .map(([name, content]) => {
      const items = Array.isArray(content) ? (content as readonly Parsed[]) : [];
      const text = items.map((item) => item['#text']).filter((piece) => typeof piece === 'string');
      const children = items.flatMap((item) => toNodes(item, inside));
      return new XmlNode(name, attributes, children, text.join(''), inherited);
    });
}
