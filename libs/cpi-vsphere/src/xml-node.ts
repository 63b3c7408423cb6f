import { XMLParser } from 'fast-xml-parser';

type Parsed = Readonly<Record<string, unknown>>;

const parser = new XMLParser({
  preserveOrder: true,
  ignoreAttributes: false,
  attributeNamePrefix: '',
  parseTagValue: false,
  parseAttributeValue: false,
  trimValues: false,
  processEntities: true,
});

const withoutPrefix = (name: string): string => name.slice(name.indexOf(':') + 1);

/** An element of an answer. Prefixes are taken off names: servers choose their own. */
export class XmlNode {
  readonly name: string;
  /** Of `xsi:type`, whatever the prefix: the class of a data object. */
  readonly type: string | undefined;
  /** Of a managed object reference: `type="VirtualMachine"`. */
  readonly refType: string | undefined;
  readonly text: string;
  readonly children: readonly XmlNode[];

  constructor(name: string, attributes: Parsed, children: readonly XmlNode[], text: string) {
    this.name = name;
    this.children = children;
    this.text = text;
    for (const [key, value] of Object.entries(attributes)) {
      if (typeof value !== 'string') continue;
      if (key === 'type') this.refType = value;
      else if (/^[^:]+:type$/.test(key)) this.type = withoutPrefix(value);
    }
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
}

/** The document's root element. Throws what the parser throws for text that is not XML. */
export function parseXml(text: string): XmlNode {
  const elements = (parser.parse(text, true) as readonly Parsed[]).flatMap(toNodes);
  const [root] = elements.filter(({ name }) => !name.startsWith('?'));
  if (root === undefined) throw new Error('the answer has no element');
  return root;
}

function toNodes(parsed: Parsed): XmlNode[] {
  const attributes = (parsed[':@'] ?? {}) as Parsed;
  return Object.entries(parsed)
    .filter(([name]) => name !== ':@' && name !== '#text')
    .map(([name, content]) => {
      const items = Array.isArray(content) ? (content as readonly Parsed[]) : [];
      const text = items.map((item) => item['#text']).filter((piece) => typeof piece === 'string');
      return new XmlNode(withoutPrefix(name), attributes, items.flatMap(toNodes), text.join(''));
    });
}
