import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { evaluationContexts, type TemplateContext } from './evaluation-context.ts';
import { TemplatesFailed } from './failures.ts';
import { startRenderer, type TemplateRenderer } from './renderer.ts';

/** Random templates, judged by the Ruby of the machine; `npm run fuzz` makes many more of them. */
const effort = Number(process.env['FUZZ'] ?? 1);
const batch = 60;

const properties = {
  text: "a 'quoted' text: # with\nlines",
  number: 42,
  off: false,
  list: [1, 'two', { three: 3 }],
  map: { key: 'value', nested: { deep: [true, null] }, 'odd key': 'y' },
};

/** Says what a job template says: the rules of reference create-env §10.3, as short as they can be. */
const oracle = `
require 'json'; require 'erb'; require 'yaml'
class Job
  class Else
    def initialize(job); @job = job; end
    def else; yield; end
    def else_if_p(*names, &block); @job.if_p(*names, &block); end
  end
  class Nothing
    def else; end
    def else_if_p(*); Nothing.new; end
  end
  attr_reader :raw_properties
  def initialize(properties); @raw_properties = properties; end
  def find(name); name.split('.').reduce(@raw_properties) { |map, key| map.nil? ? nil : map[key] }; end
  def p(names, *default)
    Array(names).each { |name| value = find(name); return value unless value.nil? }
    raise "nothing" if default.empty?
    default.first
  end
  def if_p(*names)
    values = names.map { |name| find(name) }
    return Else.new(self) if values.any?(&:nil?)
    yield(*values)
    Nothing.new
  end
  def context; binding; end
end
if RUBY_VERSION < '3.4' # which shows maps in another way
  class Hash
    def inspect; "{#{map { |key, value| "#{key.inspect} => #{value.inspect}" }.join(', ')}}"; end
    alias to_s inspect
  end
end
given = JSON.parse(File.read(ARGV[0]))
results = given['templates'].map do |template|
  begin
    ERB.new(template, trim_mode: '-').result(Job.new(given['properties']).context)
  rescue Exception
    nil
  end
end
puts JSON.generate(results)
`;

const name = fc.constantFrom(
  'text',
  'number',
  'off',
  'list',
  'map',
  'map.key',
  'map.nested.deep',
  'nope',
  'map.nope.x',
);
const value = fc.oneof(
  name.map((property) => `p('${property}')`),
  name.map((property) => `p('${property}', 'default')`),
  fc.tuple(name, name).map(([one, other]) => `p(['${one}', '${other}'])`),
  fc.constantFrom(
    '1 + 1',
    '"#{2 * 3}"',
    '[1, nil, "x"].compact.join(",")',
    "raw_properties['map'].keys.sort",
    'nil',
  ),
);
const shown = fc
  .tuple(value, fc.constantFrom('', '.to_s', '.to_s.upcase', '.to_s.inspect', '.to_s.split.length', '.class'))
  .map(([expression, more]) => `(${expression})${more}`);
// What a map looks like differs between versions of Ruby when it is neither JSON nor YAML.
const printed = fc.oneof(
  shown.map((expression) => `[${expression}].flatten.reject { |x| x.is_a?(Hash) }.map(&:to_s).join(' ')`),
  value.map((expression) => `JSON.generate([${expression}])`),
  value.map((expression) => `YAML.dump([${expression}])`),
);
const open = fc.constantFrom('<%', '<%-', ' <%-', '\n  <%-');
const close = fc.constantFrom('%>', '-%>', '-%>\n', '%>\n', '-%>\r\n');
const piece: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom(
    'text ',
    '\n',
    '% line\n',
    '<%% literal %>',
    '<%# comment %>',
    '<%#- x -%>\n',
    '%%>',
    'é\n',
    '  ',
  ),
  fc.tuple(printed, close).map(([expression, end]) => `<%= ${expression} ${end}`),
  fc
    .tuple(open, name, close, printed)
    .map(
      ([begin, property, end, expression]) =>
        `${begin} if_p('${property}') do |x| ${end}yes <%= ${expression} %>${begin} end.else do ${end}no${begin} end ${end}`,
    ),
  fc
    .tuple(open, name, name, close)
    .map(
      ([begin, one, other, end]) =>
        `${begin} if_p('${one}', 'nope') { |x, y| ${end}a${begin} }.else_if_p('${other}') { |z| ${end}b${begin} }.else { ${end}c${begin} } ${end}`,
    ),
  fc
    .tuple(open, close)
    .map(([begin, end]) => `${begin} p('list').each_with_index do |x, i| ${end}<%= i %>,${begin} end ${end}`),
  // Broken ones: both must refuse them.
  fc.constantFrom('<% end %>', '<% if %>', '<%= raise "x" %>', '<% [ %>', '<%= 1.nope %>'),
);
const template = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(''));

let work: string;
let renderer: TemplateRenderer;
let context: TemplateContext;

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'templates-fuzz-'));
  writeFileSync(join(work, 'oracle.rb'), oracle);
  renderer = await startRenderer();
  const manifest = {
    name: 'web',
    templates: {},
    packages: [],
    properties: Object.fromEntries(Object.keys(properties).map((key) => [key, {}])),
    consumes: [],
    provides: [],
  };
  const [built] = evaluationContexts(
    { name: 'd', properties: {}, group: { name: 'g', jobs: [], properties } },
    [{ ref: { name: 'web', release: 'r' }, manifest }],
    { id: 'x' },
  );
  if (built === undefined) throw new Error('no context');
  context = built;
});
afterAll(async () => {
  await renderer.close();
  rmSync(work, { recursive: true });
});

async function rendered(templates: readonly string[]): Promise<(string | null)[]> {
  const requests = templates.map((text, index) => ({
    context,
    template: text,
    path: `web/templates/${index}`,
  }));
  try {
    return (await renderer.render(requests)).map(String);
  } catch (error) {
    if (!(error instanceof TemplatesFailed)) throw error;
    const failed = new Set(error.failures.map(({ template: path }) => path));
    const contents = await renderer.render(requests.filter(({ path }) => !failed.has(path)));
    return requests.map(({ path }) => (failed.has(path) ? null : String(contents.shift())));
  }
}

describe('random templates', () => {
  it('give what the Ruby of the machine gives, or fail where it fails', async () => {
    for (let round = 0; round < effort; round += 1) {
      const templates = fc.sample(template, batch);
      const given = join(work, 'given.json');
      writeFileSync(given, JSON.stringify({ properties, templates }));
      const wanted = JSON.parse(
        execFileSync('ruby', [join(work, 'oracle.rb'), given], {
          stdio: ['ignore', 'pipe', 'ignore'],
        }).toString(),
      ) as (string | null)[];

      const results = await rendered(templates);

      expect(wanted.filter((text) => text !== null).length).toBeGreaterThan(batch / 10);
      templates.forEach((text, index) => expect([text, results[index]]).toEqual([text, wanted[index]]));
    }
  });
});
