/// The thread that renders. Entry point of a worker_thread; started by renderer.ts only.
import { readFile } from 'node:fs/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { Interpreter, rubyLiteral } from './interpreter.ts';
import { limitMemory } from './memory-limit.ts';
import type {
  FromWorker,
  RubyFailure,
  ToWorker,
  Warm,
  WorkerSetUp,
  WorkItem,
  WorkResult,
} from './messages.ts';
import { HostRequested } from './sandbox-imports.ts';

const marks = { clean: 0x2b, changed: 0x2a, failed: 0x21 } as const;

/** Global state that Ruby has no hook for. A template that touches it does not share its interpreter with the next. */
const touchesGlobals =
  /\$[A-Za-z_]\w*\s*(?:\|\||&&|<<|[-+*/|&])?=(?![=~])|@@\w|\bENV\b|\bEncoding\.default|\bObjectSpace\b/;

const port = parentPort;
if (port === null) throw new Error('worker.ts runs as a worker thread only');
const setUp = workerData as WorkerSetUp;
const answer = (message: FromWorker, transfer: ArrayBuffer[] = []) => port.postMessage(message, transfer);

let warm: Warm;
let interpreter: Interpreter | undefined;

async function boot(): Promise<void> {
  const binary = limitMemory(await readFile(setUp.binary), setUp.maxMemoryPages);
  const module = await WebAssembly.compile(binary);
  const booted = Interpreter.boot(module);
  const prelude = rubyLiteral(await readFile(setUp.prelude, 'utf8'));
  const outcome = booted.evaluate(
    `begin; eval(${prelude}, TOPLEVEL_BINDING, "evaluation.rb"); ""; rescue Exception => e; e.full_message(highlight: false); end`,
  );
  if (outcome.length > 0) throw new Error(`the evaluation context does not load: ${outcome.toString()}`);
  // Once through the whole path, so that what it loads is part of the image.
  booted.evaluate(
    `MicroboshRenderer.render('{"job":{"name":"a"},"default_properties":{"a":1},"job_properties":{}}', "<%= p('a') -%>\n<%= YAML.dump({'a' => [1, 'x']}) + JSON.pretty_generate({'a' => 1}) %>", "warm"); GC.start; ""`,
  );
  warm = { module, image: booted.image() };
  interpreter = booted;
  answer({ kind: 'ready', warm });
}

function render(item: WorkItem): WorkResult {
  let isReusable = false;
  try {
    interpreter ??= Interpreter.restore(warm.module, warm.image);
    const output = interpreter.evaluate(
      `MicroboshRenderer.render(${[item.context, item.template, item.file].map(rubyLiteral).join(', ')})`,
    );
    const body = output.subarray(1);
    if (output[0] === marks.failed) {
      const failure = JSON.parse(body.toString()) as RubyFailure & { readonly dirty: boolean };
      isReusable = !failure.dirty && !touchesGlobals.test(item.template);
      return { kind: 'raised', failure };
    }
    isReusable = output[0] === marks.clean && !touchesGlobals.test(item.template);
    return { kind: 'rendered', content: new Uint8Array(body) };
  } catch (error) {
    return { kind: 'crashed', reason: crashReason(error) };
  } finally {
    if (!isReusable) interpreter = undefined;
  }
}

function crashReason(error: unknown): string {
  if (error instanceof HostRequested) return `it asked for ${error.what}, which no template may reach`;
  if (error instanceof RangeError) return 'it called itself too deeply, or used too much memory';
  if (error instanceof WebAssembly.RuntimeError) return `the interpreter stopped (${error.message})`;
  return error instanceof Error ? error.message : String(error);
}

port.on('message', (message: ToWorker) => {
  switch (message.kind) {
    case 'restore':
      warm = message.warm;
      interpreter = Interpreter.restore(warm.module, warm.image);
      answer({ kind: 'ready' });
      break;
    case 'render': {
      const result = render(message.item);
      const transfer =
        result.kind === 'rendered' && result.content.buffer instanceof ArrayBuffer
          ? [result.content.buffer]
          : [];
      answer({ kind: 'done', id: message.item.id, result }, transfer);
      break;
    }
  }
});

if (setUp.boots) await boot();
