import { writeFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cancelled, type JsonObject } from '@microbosh/errors';
import type { JobManifest } from '@microbosh/spec';
import { evaluationContexts, type TemplateContext } from './evaluation-context.ts';
import { TemplatesFailed } from './failures.ts';
import { startRenderer, type TemplateRenderer } from './renderer.ts';

const secret = 'p4ss-w0rd-of-the-database';

function contextWith(properties: JsonObject, manifest: Partial<JobManifest> = {}): TemplateContext {
  const [context] = evaluationContexts(
    { name: 'dep', properties: {}, group: { name: 'main', jobs: [], properties } },
    [
      {
        ref: { name: 'web', release: 'r' },
        manifest: {
          name: 'web',
          templates: {},
          packages: [],
          properties: Object.fromEntries(Object.keys(properties).map((name) => [name, {}])),
          consumes: [],
          provides: [],
          ...manifest,
        },
      },
    ],
    { id: 'the-id', address: '10.0.0.6' },
  );
  if (context === undefined) throw new Error('no context');
  return context;
}

let renderer: TemplateRenderer;
beforeAll(async () => {
  renderer = await startRenderer({ timeoutMs: 15_000, memoryLimitMiB: 256 });
});
afterAll(async () => renderer.close());

const render = async (template: string, properties: JsonObject = { password: secret }) =>
  (await renderer.render([{ context: contextWith(properties), template, path: 'web/templates/a.erb' }]))
    .map(String)
    .join('');

async function failureOf(template: string, properties?: JsonObject): Promise<TemplatesFailed> {
  const thrown: unknown = await render(template, properties).catch((error: unknown) => error);
  if (!(thrown instanceof TemplatesFailed)) throw new Error(`not a failure: ${String(thrown)}`);
  return thrown;
}

describe('a template cannot reach the host', () => {
  it('reads no file of the host and writes none', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'templates-'));
    try {
      writeFileSync(join(directory, 'readable'), 'of the host');

      const read = await failureOf(`<%= File.read('${directory}/readable') %>`);
      const written = await failureOf(`<% File.write('${directory}/written', 'x') %>`);

      expect(read.message).toContain('Errno::ENOENT');
      expect(written.message).toContain('Errno::ENOENT');
      expect(existsSync(join(directory, 'written'))).toBe(false);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it.each([
    ['backticks', '<%= `id` %>'],
    ['system', "<%= system('id') %>"],
    ['Kernel.spawn', "<% Kernel.spawn('id') %>"],
    ['exec', "<% exec 'id' %>"],
    ['fork', '<% fork %>'],
    ['IO.popen', "<% IO.popen('id') %>"],
    ['Process.kill', '<% Process.kill(9, 1) %>'],
  ])('starts no process by %s', async (_name, template) => {
    expect((await failureOf(template)).message).toContain('a template cannot start processes');
  });

  it('opens no connection', async () => {
    let connections = 0;
    const server = createServer(() => (connections += 1));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    try {
      const failure = await failureOf(`<% require 'socket'; TCPSocket.new('127.0.0.1', ${port}) %>`);

      expect(failure.message).toContain('a template cannot reach the network');
      expect(connections).toBe(0);
    } finally {
      server.close();
    }
  });

  it.each(["<% require 'js' %><%= JS.eval('return 1') %>", "<% require 'js.so' %><%= JS.global %>"])(
    'finds no way to JavaScript: %s',
    async (template) => {
      expect((await failureOf(template)).message).toContain('uninitialized constant');
    },
  );

  it('sees an empty environment', async () => {
    expect(await render('<%= ENV.to_h.empty? %>')).toBe('true');
  });

  it('cannot end the process it runs in', async () => {
    await failureOf('<% exit! %>');
    await failureOf('<% abort "x" %>');

    expect(await render('still here')).toBe('still here');
  });
});

describe('a template that gets out of hand is stopped', () => {
  it('ends an endless loop, and the next template renders', async () => {
    const impatient = await startRenderer({ workers: 1, timeoutMs: 300 });
    try {
      const context = contextWith({});
      const thrown: unknown = await impatient
        .render([{ context, template: '<% loop {} %>', path: 'web/templates/loop.erb' }])
        .catch((error: unknown) => error);

      expect(thrown).toBeInstanceOf(TemplatesFailed);
      expect(String(thrown)).toContain(
        "Error filling in template 'web/templates/loop.erb' for web/0 (line unknown: it did not end within 0.3 s",
      );
    } finally {
      await impatient.close();
    }
  });

  it('ends one that eats memory, and the next template renders', async () => {
    const failure = await failureOf("<% a = []; loop { a << ('x' * 1_000_000) } %>");

    expect(failure.message).toContain('NoMemoryError');
    expect(await render('ok')).toBe('ok');
  });

  it('ends one that calls itself for ever, and the next template renders', async () => {
    expect((await failureOf('<% def f(n) f(n + 1) end; f(1) %>')).message).toMatch(/too deep/);
    expect(await render('ok')).toBe('ok');
  });

  it('stops when the signal fires', async () => {
    const controller = new AbortController();
    const rendering = renderer.render(
      [{ context: contextWith({}), template: '<% sleep 60 %>', path: 'web/templates/sleep.erb' }],
      { signal: controller.signal },
    );

    controller.abort();

    await expect(rendering).rejects.toBeInstanceOf(Cancelled);
  });
});

describe('templates do not see each other', () => {
  it.each([
    ['a method', '<% def helper; 1; end %>', '<%= helper %>'],
    ['a patched core class', '<% class String; def shout; upcase; end; end %>', "<%= 'a'.shout %>"],
    ['a constant', '<% LEAK = 1 %>', '<%= LEAK %>'],
    ['a global variable', '<% $leak = 1 %>', '<%= $leak.foo %>'],
  ])('%s ends with its template', async (_name, first, second) => {
    const one = await startRenderer({ workers: 1 });
    try {
      const context = contextWith({});
      await one.render([{ context, template: first, path: 'web/templates/first.erb' }]);

      await expect(
        one.render([{ context, template: second, path: 'web/templates/second.erb' }]),
      ).rejects.toBeInstanceOf(TemplatesFailed);
    } finally {
      await one.close();
    }
  });
});

describe('failures say where and why, and nothing that is secret', () => {
  it.each([
    ['plain', '<% raise "cannot use #{p(\'password\')}" %>'],
    ['quoted', "<% raise p('password').inspect %>"],
    ['base64', "<% require 'base64'; raise Base64.strict_encode64(p('password')) %>"],
    ['a part of it', "<% raise p('password')[3..] %>"],
    ['in a parser error', "<% JSON.parse(p('password')) %>"],
    ['in a URL', "<% URI.parse('http://a b/' + p('password')) %>"],
    ['as a key', "<% {}.fetch(p('password')) %>"],
  ])('a value of the manifest is not shown: %s', async (_name, template) => {
    const failure = await failureOf(template);

    const shown = `${failure.message} ${failure.advice} ${JSON.stringify(failure.details)}`;
    expect(shown).not.toContain(secret.slice(3));
    expect(shown).not.toContain(Buffer.from(secret).toString('base64'));
    expect(shown).toContain("value of 'password'");
  });

  it('lists every template that failed', async () => {
    const context = contextWith({ a: 'x' });
    const thrown: unknown = await renderer
      .render([
        { context, template: "<%= p('nope') %>", path: 'web/templates/one.erb' },
        { context, template: "fine <%= p('a') %>", path: 'web/templates/two.erb' },
        { context, template: "\n<%= p('b') %>", path: 'web/templates/three.erb' },
      ])
      .catch((error: unknown) => error);

    const failures = thrown instanceof TemplatesFailed ? thrown.failures : [];
    expect(failures.map(({ template, line }) => [template, line])).toEqual([
      ['web/templates/one.erb', 1],
      ['web/templates/three.erb', 2],
    ]);
    expect(failures[0]?.hints).toEqual([
      "Job 'web' does not declare the property 'nope' in its spec, so its templates cannot see it.",
    ]);
  });

  it('names the property that a chain of the struct view ends at', async () => {
    const failure = await failureOf('a\n<%= properties.db.prot.upcase %>', { db: { port: 1 } });

    expect(failure.message).toContain("(line 2: #<NoMethodError: undefined method 'upcase' for nil>)");
    expect(failure.advice).toBe(
      "Nothing sets 'db.prot' and job 'web' has no default for it: set it in instance_groups[main].properties or properties.",
    );
  });

  it('gives the line of a syntax error', async () => {
    const failure = await failureOf('a\nb\n<% if %>\nc');

    expect(failure.message).toContain('line unknown: #<SyntaxError');
    expect(failure.failures[0]?.line).toBe(3);
  });
});

describe('contents', () => {
  it('may be binary', async () => {
    const [content] = await renderer.render([
      { context: contextWith({}), template: '<%= [0, 255, 10].pack("C*") %>', path: 'web/templates/b.erb' },
    ]);

    expect([...(content ?? [])]).toEqual([0, 255, 10]);
  });

  it('come in the order of the requests, however long each takes', async () => {
    const context = contextWith({});
    const templates = ['<% sleep 0.2 %>first', 'second', '<% sleep 0.1 %>third', 'fourth'];

    const contents = await renderer.render(
      templates.map((template) => ({ context, template, path: 'web/templates/x.erb' })),
    );

    expect(contents.map(String)).toEqual(['first', 'second', 'third', 'fourth']);
  });
});

describe('links inside the instance', () => {
  const job = (name: string, manifest: Partial<JobManifest>) => ({
    ref: { name, release: 'r' },
    manifest: { name, templates: {}, packages: [], properties: {}, consumes: [], provides: [], ...manifest },
  });

  it('give the provider’s properties and address', async () => {
    const [, consumer] = evaluationContexts(
      { name: 'dep', properties: {}, group: { name: 'main', jobs: [], properties: { port: 5432 } } },
      [
        job('db', {
          properties: { port: {}, 'users.admin': { default: 'root' } },
          provides: [{ name: 'database', type: 'postgres', properties: ['port', 'users.admin'] }],
        }),
        job('app', { consumes: [{ name: 'db', type: 'postgres' }] }),
      ],
      { id: 'the-id', address: '10.0.0.6' },
    );
    if (consumer === undefined) throw new Error('no context');

    const contents = await renderer.render([
      {
        context: consumer,
        template:
          "<%= link('db').p('port') %> <%= link('db').p('users.admin') %> <%= link('db').instances.map(&:address).join %>" +
          " <%= link('db').address %> <% if_link('db') do |l| %><%= l.p('nope', 'none') %><% end.else do %>no<% end %>" +
          " <% l = link('db').instances.first %><%= l.name %>/<%= l.index %>/<%= l.id %>/<%= l.bootstrap %>",
        path: 'app/templates/x.erb',
      },
    ]);

    expect(contents.map(String)).toEqual(['5432 root 10.0.0.6 10.0.0.6 none main/0/the-id/true']);
  });

  it('given by hand in the manifest', async () => {
    const byHand = {
      kind: 'manual',
      instances: [
        {
          name: 'a',
          index: 0,
          id: 'x',
          az: 'z1',
          address: '10.9.9.9',
          bootstrap: true,
          properties: { n: 1 },
        },
        { address: '10.9.9.8' },
      ],
      properties: { user: { name: 'root' } },
      address: 'db.example',
    } as const;
    const consumer = job('app', { consumes: [{ name: 'db', type: 'postgres' }] });
    const [context] = evaluationContexts(
      { name: 'dep', properties: {}, group: { name: 'main', jobs: [], properties: {} } },
      [
        {
          ...consumer,
          ref: { ...consumer.ref, links: { consumes: { db: byHand }, provides: {}, custom: [] } },
        },
      ],
      { id: 'the-id' },
    );
    if (context === undefined) throw new Error('no context');

    const contents = await renderer.render([
      {
        context,
        template:
          "<%= link('db').instances.map { |i| [i.name, i.index, i.id, i.az, i.address, i.bootstrap, i.p('n', 0)].inspect }.join(' ') %>" +
          " <%= link('db').address %> <%= link('db').p('user.name') %> <%= link('db').properties %>" +
          " <% link('db').if_p('nope') { %>yes<% }.else { %>no<% } %>",
        path: 'app/templates/x.erb',
      },
    ]);

    expect(contents.map(String)).toEqual([
      '["a", 0, "x", "z1", "10.9.9.9", true, 1] [nil, nil, nil, nil, "10.9.9.8", nil, 0]' +
        ' db.example root {"user" => {"name" => "root"}} no',
    ]);
  });

  it('that nothing provides end in else, or name the link', async () => {
    const [context] = evaluationContexts(
      { name: 'dep', properties: {}, group: { name: 'main', jobs: [], properties: {} } },
      [job('app', { consumes: [{ name: 'db', type: 'postgres', optional: true }] })],
      { id: 'the-id' },
    );
    if (context === undefined) throw new Error('no context');
    const path = 'app/templates/x.erb';

    const contents = await renderer.render([
      { context, template: "<% if_link('db') do %>yes<% end.else do %>no<% end %>", path },
    ]);
    const thrown: unknown = await renderer
      .render([{ context, template: "<%= link('db') %>", path }])
      .catch((error: unknown) => error);

    expect(contents.map(String)).toEqual(['no']);
    expect(String(thrown)).toContain("Can't find link 'db'");
    expect(thrown instanceof TemplatesFailed ? thrown.advice : '').toBe(
      "Job 'app' consumes the link 'db' of type 'postgres', and no job of the instance provides one.",
    );
  });
});
