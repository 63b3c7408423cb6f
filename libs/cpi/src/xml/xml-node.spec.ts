import { expect, it } from 'vitest';
import { parseXml } from './xml-node.ts';

it('knows a class by whatever prefix the server gives the schema instance', () => {
  const text = `<?xml version="1.0"?><a:Envelope xmlns:a="soap" xmlns:XMLSchema-instance="http://www.w3.org/2001/XMLSchema-instance">
    <a:Body><val XMLSchema-instance:type="vim25:VirtualDisk"><key>2000</key></val></a:Body></a:Envelope>`;

  const value = parseXml(text).at('Body', 'val');

  expect(value?.type).toBe('VirtualDisk');
  expect(value?.numberAt('key')).toBe(2000);
});

it('keeps numbers and white space as text, and resolves character references', () => {
  expect(parseXml('<a><b>007</b><c> x </c></a>').textAt('b')).toBe('007');
  expect(parseXml('<a><b>007</b><c> x &lt;&#34;&#x41;</c></a>').textAt('c')).toBe(' x <"A');
});

it('finds attributes by their local names, and does not mistake a namespace for one', () => {
  const node = parseXml('<a xmlns:disk="urn:x" v:capacity="5" v:disk="here" xmlns:v="urn:v"/>');

  expect([node.attribute('capacity'), node.attribute('disk'), node.attribute('none')]).toEqual([
    '5',
    'here',
    undefined,
  ]);
});

it('writes an element as it was read, with the namespaces of its surroundings', () => {
  const text =
    '<x:a xmlns:x="urn:x" xmlns="urn:d" n="1"><x:b y="&quot;">1 &amp; 2</x:b><c/><x:b>z</x:b></x:a>';
  const root = parseXml(text);

  expect(parseXml(root.render())).toEqual(root);
  expect(root.at('b')?.render()).toBe('<x:b xmlns:x="urn:x" xmlns="urn:d" y="&#34;">1 &#38; 2</x:b>');
});

it('changes a copy', () => {
  const root = parseXml('<a n="1"><b>1</b></a>');

  const changed = root.with({ children: root.children.map((child) => child.with({ text: '2' })) });

  expect([root.render(), changed.render()]).toEqual(['<a n="1"><b>1</b></a>', '<a n="1"><b>2</b></a>']);
});
