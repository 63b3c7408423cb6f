import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { evaluationContexts, startRenderer } from '../libs/ruby-templates/src/index.ts';
import { medianMs, timeMs } from './result.ts';
import type { BenchResult, Figure } from './result.ts';

const templateCount = 300;
const rubyRuns = 10;

/** 60 lines as job templates have them: properties, conditions, a loop, a document dumped. */
const template = [
  '<%-',
  "  servers = p('servers')",
  '-%>',
  ...Array.from({ length: 12 }, (_unused, index) =>
    [
      `setting_${index}: <%= p('app.setting_${index}') %>`,
      `<% if_p('app.optional_${index}') do |value| -%>`,
      `optional_${index}: <%= value %>`,
      '<% end -%>',
    ].join('\n'),
  ),
  '<% servers.each_with_index do |server, index| -%>',
  '- <%= index %>: <%= server["host"] %>:<%= server["port"] %>',
  '<% end -%>',
  '<%= JSON.pretty_generate(servers) %>',
  "<%= YAML.dump(p('app')) %>",
  ...Array.from({ length: 4 }, (_unused, index) => `# line ${index} of plain text`),
].join('\n');

const properties = {
  app: Object.fromEntries(
    Array.from({ length: 12 }, (_unused, index) => [
      [`setting_${index}`, `value ${index}`],
      ...(index % 2 === 0 ? [[`optional_${index}`, index]] : []),
    ]).flat() as [string, string | number][],
  ),
  servers: Array.from({ length: 5 }, (_unused, index) => ({ host: `10.0.0.${index}`, port: 8000 + index })),
};

/** 300 templates of 60 lines with the embedded Ruby, from nothing; beside one process of the machine's Ruby per template. */
export async function run(): Promise<BenchResult> {
  const [context] = evaluationContexts(
    { name: 'bench', properties: {}, group: { name: 'main', jobs: [], properties } },
    [
      {
        ref: { name: 'web', release: 'bench' },
        manifest: {
          name: 'web',
          templates: {},
          packages: [],
          properties: { app: {}, servers: {} },
          consumes: [],
          provides: [],
        },
      },
    ],
    { id: 'bench' },
  );
  if (context === undefined) throw new Error('no context');
  const requests = Array.from({ length: templateCount }, (_unused, index) => ({
    context,
    template,
    path: `web/templates/${index}.erb`,
  }));

  let bootMs = 0;
  const embeddedMs = await timeMs(async () => {
    const start = performance.now();
    const renderer = await startRenderer();
    bootMs = performance.now() - start;
    await renderer.render(requests);
    await renderer.close();
  });
  const figures: Figure[] = [
    {
      label: `${templateCount} templates of ${template.split('\n').length} lines, boot included`,
      value: embeddedMs / 1000,
      unit: 's',
      aim: '<= 4.5 s, half of that on a quiet machine',
    },
    { label: 'of that, boot of the interpreter', value: bootMs / 1000, unit: 's' },
    {
      label: 'resident memory afterwards, whole process',
      value: process.memoryUsage().rss / 2 ** 20,
      unit: 'MiB',
    },
  ];

  const work = mkdtempSync(join(tmpdir(), 'bench-render-'));
  try {
    // The least that one process per template has to do: load the same libraries, evaluate the same template.
    const script =
      'require "rubygems"; require "json"; require "erb"; require "yaml"; P = JSON.parse(File.read("p.json"));' +
      'def p(n) n.split(".").reduce(P) { |m, k| m && m[k] } end; def if_p(n) v = p(n); yield v unless v.nil? end;' +
      'File.write("out", ERB.new(File.read("t.erb"), trim_mode: "-").result(binding))';
    writeFileSync(join(work, 'p.json'), JSON.stringify(properties));
    writeFileSync(join(work, 't.erb'), template);
    const processMs = await medianMs(rubyRuns, () => execFileSync('ruby', ['-e', script], { cwd: work }));
    figures.push(
      { label: `one ruby process per template (median of ${rubyRuns})`, value: processMs, unit: 'ms' },
      {
        label: `${templateCount} such processes against the embedded Ruby`,
        value: (processMs * templateCount) / embeddedMs,
        unit: 'x',
        aim: '> 1 x',
      },
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return { name: 'render: job templates', figures };
}
