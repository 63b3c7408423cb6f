// Writes ../yaml-v2.golden.json, ../ops.golden.json and ../psych.golden.json. Needs go and ruby:
//   cd libs/spec/testdata/oracle && go build -o /tmp/oracle . && node make-golden.mjs /tmp/oracle
// The results are those of gopkg.in/yaml.v2, github.com/cppforlife/go-patch and Ruby's Psych, never of our own code.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import fc from 'fast-check';

const here = import.meta.dirname;
const oracle = process.argv[2];

function ask(requests) {
  const input = requests.map((request) => JSON.stringify(request)).join('\n') + '\n';
  const { stdout } = spawnSync(oracle, { input, maxBuffer: 1 << 30, encoding: 'utf8' });
  return stdout.trim().split('\n').map((line) => JSON.parse(line));
}

function write(name, rows) {
  writeFileSync(`${here}/../${name}`, `[\n${rows.map((row) => JSON.stringify(row)).join(',\n')}\n]\n`);
}

const scalars = `y Y yes Yes YES yEs n N no No NO nO on On ON oN off Off OFF true True TRUE tRue false False FALSE ~ null Null NULL nUll nil
0 1 -1 +1 00 007 0777 08 09 010 0o17 0O17 0o18 0x1F 0X1f 0xg 0b101 0b12 -0b11 -0x10 +0x10 -010 1_000 1__0 1_ _1 -_1 0_7 0x_1 9223372036854775807 9223372036854775808 18446744073709551615 18446744073709551616 -9223372036854775808 -9223372036854775809 +9223372036854775808 9007199254740993 123456789012345678901234567890 0xffffffffffffffff 0x1ffffffffffffffff 02000000000000000000000
1.0 1.5 1. .5 -.5 +.5 1e10 1e+10 1.5e-3 1E5 1e 1e400 -1e400 .inf .Inf .INF -.inf +.inf .iNf .nan .NaN .NAN NaN inf Infinity 1.0e+1 0.1 0.00001 0.0001 100000.0 1000000.0 123456.789 1234567.5 1e20 1e21 1.10 10.0.0.1 1.2.3 . .. ... .5.5 ._5 .5e3 .e5 1_0.5 1.5_0 -0 -0.0 0.0 5e-324 1.7976931348623157e308 0x1p4 1e5_0 0e0 00.5 08.5 1e0777
1:30 190:20:30 190:20:30.15 1:60 -1:30 12:30:45 1:2:3:4 :1 1: 10:00:00.5 +1:30
2001-01-01 2001-1-1 2001-13-01 2001-02-29 2004-02-29 2001-12-14t21:59:43.10-05:00 2001-12-14T21:59:43Z 2001-12-14T21:59:43.10Z 2001-12-15T2:59:43.1Z 2001-12-14T21:59:43 2001-12-14T25:59:43Z 2001-1-1T1:2:3Z 2001-01-01T00:00:00,5Z 2001-01-01T00:00:00+24:60 2001-01-01T00:00:60Z 02001-01-01 201-01-01 2001-01 2001-01-01x 2001-01-0 2001-00-01
<< = foo foo-bar foo:bar a#b ((x)) ((!x)) ((a.b)) * - -- --- -a - ? ?a : @ %a !a &a *a a* a& %% a%b \`x @x ,a a,b [ ] { } | > ' " \\ a\\b a"b a'b`.split(/\s+/);
const strings = ['', ' ', '  ', 'a b', ' a', 'a ', 'a  b', 'a: b', 'a : b', 'a :b', 'a #b', 'a# b', '# a', '- a', '-a', '? a', '?a', ': a', ':a', 'a\nb', 'a\nb\n', '\na', '\n', '\n\n', 'a\n\n', 'a\n\nb', ' a\nb', 'a\n b', 'a \nb', 'a\nb ', 'a\nb \n', '\ta', 'a\tb', 'a\t', 'a\n\tb', '\u00e9', '\u00e9\n', '\u{1F600}', 'x\u{1F600}y', '\u{1F600}\nb', '\u0085', 'a\u0085b', '\u2028', 'a\u2028b', '\u2029', '\ufeff', '\ufeffabc d', 'a\ufeffb', '\u00a0', 'a\u00a0b', '\u0000', '\u0001', '\u0007\b\f\v\u001b', '\u007f', '\u0080', '\u009f', '\ud7ff', '\ue000', '\ufffd', '\r', 'a\rb', 'a\r\nb', '\\', '"', '\'', 'it\'s', "''", 'true', 'null', '~', '1', '1.0', '0x1', '1:30', '2001-01-01', 'y', 'n', '<<', '=', '---', '--- a', '---a', '...', '...a', '[a]', '{a}', 'a]', 'a}', 'a,b', ',a', '!a', '&a', '*a', '%a', '@a', '`a', '|', '>', '|a', 'http://x/y', 'a:', ':', 'a: ', '- ', '-', '?', 'x\u3000y', '中文', '中文: x', 'word '.repeat(30).trim(), 'word '.repeat(30), 'word  '.repeat(30).trim(), 'x'.repeat(100) + ' y', 'x'.repeat(79) + ' y z', 'x'.repeat(77) + ' y z', 'x'.repeat(78)+ '  y z', "it's " + 'word '.repeat(30) + 'end', '"q" ' + 'word '.repeat(30) + 'end', '# ' + 'word '.repeat(30), '1 ' + 'word '.repeat(30), 'true: ' + 'word '.repeat(30) + 'x', 'tab\t' + 'word '.repeat(30) + '  x', 'a\n' + 'word '.repeat(30), 'a'.repeat(128), 'a'.repeat(129), 'é'.repeat(64), 'é'.repeat(65), 'a b'.repeat(50), '((x)) ' + 'word '.repeat(30), '\u2028'+'w w '.repeat(40), '  lead\nb', '\n  lead'];
const docs = [];
for (const s of scalars) docs.push(s, `a: ${s}`, `- ${s}`, `${s}: a`, `[${s}]`, `{a: ${s}}`, `"${s.replace(/["\\]/g, '')}"`, `!!str ${s}`, `!!int ${s}`, `!!float ${s}`, `!!bool ${s}`, `!foo ${s}`);
for (const s of strings) { const q = JSON.stringify(s).replace(/[\u007f-\uffff]/g, (c) => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0')).replace(/\\ud[89ab]..\\ud[c-f]../gi, (m) => '\\U' + ('' + String.fromCharCode(parseInt(m.slice(2, 6), 16), parseInt(m.slice(8), 16)).codePointAt(0).toString(16)).padStart(8, '0')); docs.push(q, `a: ${q}`, `- ${q}`, `- - ${q}`, `a:\n  b:\n  - c: ${q}`, `? ${q}\n: v`, `a:\n  ? ${q}\n  : [x]`, `- ? ${q}\n  : {b: c}\n  z: 1`); }
docs.push('', '---', '# c', '---\n---\na: 1', 'a: 1\n---\nb: 2', 'a: 1\n...\nb: 2', '--- a', '--- |\n  x\n', '---\na: 1\n--- {', 'a: |\n  x\n---\nb', '%YAML 1.1\n---\na: 1', '\ufeffa: 1', 'a: 1\r\nb: 2\r\n', 'a: &x {b: 1}\nc: *x', 'a: &x {b: 1}\nc:\n  <<: *x\n  d: 2', 'c:\n  b: 0\n  <<: {b: 1}', 'c:\n  <<: {b: 1}\n  b: 0', 'c: {<<: [{a: 1, b: 2}, {a: 3, c: 4}]}', 'c:\n  <<: 1', 'c:\n  <<: [1]', '"<<": {a: 1}', 'a: *x', 'a: &x [*x]', 'a: 1\na: 2', '1: a\n"1": b', 'true: a\nfalse: b\n3: c\n2.5: d\n~: e\nz: f', '? [a]\n: b', '? {a: 1}\n: b', 'a: !!binary aGVsbG8=', 'a: !!binary |\n  aGVs\n  bG8=', 'a: !!binary "x"', 'a:\n- b\n- c', 'a:\n  - b\n  -\n    - c', '- - a\n  - b\n- c', '-\n- a', 'a:\nb:', 'a: []\nb: {}', 'a: {b: [], c: {}}', '[]', '{}', '- {}\n- []', '{a: , b: }', '{a, b: c}', '[a, [b, c], {d: e}]', '{"a":1}', '{"a":b}', '["a":1]', '[a: 1]', '{a: 1,}', '[a,]', 'a: >\n  x\n  y\n\n  z\n', 'a: >-\n  x\n   y\n  z', 'a: |+\n  x\n\n\nb: 1', 'a: |2\n    x\n   y', 'a: |-\n\n  x', 'a: "x\n  y"', "a: 'x\n\n  y'", 'a: x\n  y\n\n  z', 'a: "x\\\n  y"', 'a: "\\x41\\u0042\\U00000043\\e\\0\\_\\N\\L\\P\\/"', 'a: b: c', 'a:b: c', 'a\tb: c', 'a:\tb', '\ta: b', 'a: @x', 'a: `x', 'a: %x', '%x', '%x: 1', 'a: "unterminated', 'a: [b', 'a: }', '- a\nb: c', 'a:\n b\n c: d', 'a:\n  - b\n c: d', '? a', '? a\n? b', '!!map {a: 1}', '!!seq [a]', '! 12', '! "a"', '!!str', 'a: !!null ""', '!!int "12"', '!!int 1.5', '!!float 12', '!!bool "yes"', '!!timestamp 2001-01-01', '!!timestamp x', '!<tag:yaml.org,2002:int> 7', '%TAG !e! tag:yaml.org,2002:\n---\n!e!int "7"', '&a a: &b b\nc: *b\nd: *a', '&a [x]', '- &a x\n- *a\n- &a y\n- *a', 'a: b #c', 'a: b#c', '#c\na: b', 'a: #c\n  b', 'a1: x\na10: x\na2: x\nb: x\nA: x\na: x\n_a: x\n-a: x\na-1: x\na_1: x\n1a: x\n01: x\n"1": x\n10: x\né: x\nz: x', 'a01: 1\na1: 2\na001: 3\na10: 4\na1b: 5\na100: 6\na0: 7', 'ab: 1\naB: 2\na.b: 3\na/b: 4\na b: 5\n"a:": 6', 'x10y2: 1\nx10y10: 2\nx9y: 3\nx1_: 4', '"": 1', 'a: ""', '- ""', '{"": ""}', 'a:\n- b: 1\n  c: 2\n-\n  d: 3', 'x: 1e3\ny: 0777\nz: 0b1', 'key: ((a))-((b))', '((k)): v', 'a: - b', 'a: ? b', '-a', 'a: -', 'a: ?', 'a: :', 'a: ::', '- a: b\n - c', 'a: |\n\tx', 'a: "\\q"', 'a: \'it\'\'s\'', "a: 'x' y", 'a: "x": y', 'a: [\n1,\n2\n]', 'a: [\n]', 'a: {\nb: c\n}', 'a: [b\n c, d]', "{'a': 'b'}", '{a: b}: c', '[a]: b', '- [a]: b', 'a: &x', 'a: &x\nb: *x', 'a: *x b', '&x', 'a: |', 'a: |\nb: c', 'a: >\n\n\n', '|', '>\n a', '"a"', 'plain\nmulti', 'plain\n\nmulti', "- 'a'\n- \"b\"", 'a: !x\nb: !y z', 'null: a', '~: a', '{? a : b}', '[? a : b]', '{a : b}', '{a:b}', '{a:, b}', '[a b, c]', '[-]', '[- a]', '[-a]', '{a: -}', '[?a]', 'a?: b', 'a?b: c', '[a?b]', '[a#b]', '[a #b\n]', 'a: x,y', 'a: [x]y', 'a: {x}y');
docs.push("a: [ # c\n1, # d ]\n2\n] # e\nb: 1", "x:\n  a: {\n  b: c,\n  d: [\n  'q # x',\n  \"]\"\n  ]\n  }\n  z: 1", 'a: |\n  x\n  y', 'a: |+\n  x', 'a: >\n  x\n  y', '- |\n  x\n- |\n  y', 'a: |-\n  x', 'a: |\n  x\n ', 'a: |\n  x\n\n  ', 'a: |\n  x\n# c', 'a:\n- b: {\n    c: d\n  }\n- [\n]', "dns: [8.8.8.8,\n8.8.4.4]\nb: [\n\n'x']", '.4_655', '.5_', '.5__1', '.5e1_0');


// Quoted texts and flow collections over lines that are not indented, and the line breaks that only YAML 1.1 has.
const line = fc.constantFrom('', '  ', 'a', 'b c', '# x', '- y', 'k: v', '}', '[', ']', '{', '\\n', '  indented', '\t', 'x: |', '- |', ' \u2028');
const lines = fc.array(line, { minLength: 1, maxLength: 6 }).map((list) => list.join('\n'));
const loose = fc.letrec((tie) => ({ v: fc.oneof({ maxDepth: 3 }, lines.map((text) => `"${text}"`), lines.map((text) => `'${text}'`), fc.constantFrom('p', '12', 'p q', 'p\nq'), fc.tuple(fc.array(tie('v'), { maxLength: 3 }), fc.constantFrom(',', ',\n', '\n,', ' # c\n,')).map(([items, comma]) => (comma === ',' ? `[${items.join(comma)}]` : `[\n${items.join(comma)}\n]`)), fc.tuple(fc.array(tie('v'), { maxLength: 3 }), fc.constantFrom(',', ',\n')).map(([items, comma]) => `{${items.map((item, index) => `f${index}: ${item}`).join(comma)}${comma.slice(1)}}`)) })).v;
const laid = fc.oneof(loose, fc.constantFrom('plain', '|\n    lit\n\n    x', '1'));
const several = fc.array(laid, { minLength: 1, maxLength: 3 });
const entry = fc.oneof(laid.map((text) => `KEY: ${text}`), several.map((list) => `KEY:\n${list.map((text) => `- ${text}`).join('\n')}`), several.map((list) => `KEY:\n${list.map((text, index) => `  in${index}: ${text}`).join('\n')}`), fc.constantFrom('# comment', '', 'KEY:'));
const looseDocument = fc.array(entry, { minLength: 1, maxLength: 6 }).map((list) => `${list.map((text, index) => text.replace('KEY', `k${index}`)).join('\n')}\n`);
const oddPiece = fc.constantFrom('\u2028', '\u2029', '\u0085', '\n', '\n ', ' ', 'a', 'b', '\\n', '\\\\', '\\"');
const oddText = fc.array(oddPiece, { maxLength: 10 }).map((pieces) => `k: "${pieces.join('').replace(/\n(?! )/g, '\n ')}"`);
docs.push(...fc.sample(looseDocument, { numRuns: 300, seed: 42 }), ...fc.sample(oddText, { numRuns: 100, seed: 42 }));
docs.push('a: 1\u2028b: 2', '- a\u2028- b', '# c\u2028a: 1', 'a: x\u2028  y', 'a: |\n  x\u2028  y\u2029  z\n', 'a: |+\n  x\u2028\u2028b: 1', "a: 'x\u2028  y'", 'a\u2028b: 1', 'a: x\u0085  y', 'x: 1\u0085', 'a: \\\u2028 b', '|2\n\n  name: m\n', '|2-\n\n\n  a\n', '>2\n\n  a\n   b\n', '|1 # c\n  a\n');


// Accepted there and refused here, or the other way round: broken or ambiguous YAML (docs/reference/yaml.md).
const differences = new Set([
  "!!float 9223372036854775808",
  "!!float 18446744073709551615",
  "!!float 0xffffffffffffffff",
  ".nan: a",
  ".NaN: a",
  ".NAN: a",
  "...",
  "[:1]",
  "{a: :1}",
  "[1:]",
  "{a: 1:}",
  "[-]",
  "{a: -}",
  "[?a]",
  "{a: ?a}",
  ":",
  "- :",
  "[:]",
  "[!a]",
  "{a: !a}",
  "!!str !a",
  "!foo !a",
  "&a: a",
  "!!str *a",
  "!foo *a",
  "!!str ,a",
  "!foo ,a",
  "[]]",
  "!!str ]",
  "!foo ]",
  "{a: }}",
  "!!str }",
  "!foo }",
  "a: \"\\x41\\u0042\\U00000043\\e\\0\\_\\N\\L\\P\\/\"",
  "!!timestamp x",
  "a01: 1\na1: 2\na001: 3\na10: 4\na1b: 5\na100: 6\na0: 7",
  "{a:, b}",
  "[a?b]",
]);

const inputs = [...new Set(docs)].filter((text) => !differences.has(text));
const answers = ask(inputs.map((yaml) => ({ yaml })));
write('yaml-v2.golden.json', inputs.map((input, index) => {
  const { value, emitted, error } = answers[index];
  return error === undefined ? { input, value, emitted } : { input, error: true };
}));

const key = fc.constantFrom('a', 'b', 'name', 'c', 'x/y', 'p:q', 't~u', '', '-', '3');
const leaf = fc.oneof(fc.constantFrom('v', 'w', 'a', '1', ''), fc.integer({ min: 0, max: 3 }), fc.boolean(), fc.constant(null), fc.constant(1.5));
const value = fc.letrec((tie) => ({ v: fc.oneof({ maxDepth: 3 }, leaf, fc.array(tie('v'), { maxLength: 3 }), fc.dictionary(key, tie('v'), { maxKeys: 3 })) })).v;
const segment = fc.constantFrom('a', 'b', 'name', 'c', 'x~1y', 'p~7q', 't~0u', 'a?', 'b?', 'c?', 'zz', 'zz?', '-', '0', '1', '-1', '2', '5', '+1', '-5', 'name=v', 'name=v?', 'name=w', 'a=v', 'a=v?', 'b=1', 'name=zz?', '0:before', '0:after', '-1:after', '1:prev', '0:next', 'name=v:before', 'name=v?:after', 'name=v:next', '0:next:before', '0:before:next', 'a:prev', 'x:foo', '0:foo', '', '3?', '=v', 'name=', 'name=v=w');
const path = fc.oneof(fc.array(segment, { maxLength: 4 }).map((parts) => parts.map((part) => `/${part}`).join('')), fc.constantFrom('a', ''));
const operation = fc.oneof(fc.record({ type: fc.constant('replace'), path, value }), fc.record({ type: fc.constant('remove'), path }), fc.record({ type: fc.constant('test'), path, value }), fc.record({ type: fc.constant('test'), path, absent: fc.boolean() }), fc.record({ type: fc.constantFrom('replace', 'remove', 'foo', ''), value }), fc.record({ type: fc.constant('remove'), path, value }));
const list = fc.array(fc.oneof(value, fc.record({ name: fc.constantFrom('v', 'w'), b: value })), { maxLength: 4 });
const root = fc.oneof(fc.dictionary(key, fc.oneof(value, list), { minKeys: 1, maxKeys: 5 }), list);
const runs = fc.sample(fc.record({ doc: root, ops: fc.array(operation, { minLength: 1, maxLength: 2 }), path, find: fc.boolean() }), { numRuns: 4000, seed: 42 });
const requests = runs.map(({ doc, ops, path: at, find }) => ({ doc: JSON.stringify(doc), ...(find ? { path: at } : { ops: JSON.stringify(ops) }) }));
const seen = new Map();
write('ops.golden.json', ask(requests).flatMap((answer, index) => {
  // At most 40 rows per kind of answer, so that rare errors are not drowned.
  const kind = (answer.error ?? 'ok').replace(/'[^']*'|\d+/g, '').slice(0, 60);
  const count = (seen.get(kind) ?? 0) + 1;
  seen.set(kind, count);
  return count > (answer.error === undefined ? 300 : 40) ? [] : [{ ...requests[index], ...answer }];
}));

const ruby = `
require 'yaml'; require 'json'; require 'date'
def canon(v)
  case v
  when nil then 'null'
  when true, false then ['bool', v]
  when Integer then ['int', v.to_s]
  when Float then ['float', v.nan? ? 'NaN' : v.infinite? ? (v > 0 ? '+Inf' : '-Inf') : v]
  when Array then ['list'] + v.map { |x| canon(x) }
  when Hash then ['map', v.map { |k, x| [canon(k), canon(x)] }]
  when String then ['string', v]
  else ['other', v.class.name]
  end
end
rows = JSON.parse(STDIN.read).map do |text|
  begin
    { input: text, value: canon(YAML.load(text, permitted_classes: [Symbol, Date, Time], aliases: true)) }
  rescue => e
    { input: text, error: true }
  end
end
puts JSON.generate(rows)
`;
const psychInputs = [...scalars.filter((text) => !/^[{}[\],*&!|>'"%@\`-]+|:$/.test(text)).map((text) => `a: ${text}`), 'c: {b: 0, <<: {b: 1}}', 'c: {<<: {b: 1}, b: 0}', 'c: {<<: [{a: 1, b: 2}, {a: 3, c: 4}]}', 'a: &x {b: 1}\nc: *x', ':a: 1', 'a: |\n  x\n', 'a: >\n  x\n  y\n', '- 1,000', 'a: 1_000.5', 'a: 1,234.5', 'a: -1:30', 'a: 0o17'];
const psych = spawnSync('ruby', ['-e', ruby], { input: JSON.stringify(psychInputs), encoding: 'utf8' });
write('psych.golden.json', JSON.parse(psych.stdout));
