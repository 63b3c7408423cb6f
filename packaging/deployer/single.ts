/**
 * Entry point of the single executable. It carries the runtime, and local VMs need one: a copy of it that is called
 * `node` runs the script that it is given, as Node.js would.
 */
import Module from 'node:module';
import { basename, resolve } from 'node:path';
import process from 'node:process';
import { pathToFileURL } from 'node:url';

if (basename(process.execPath) === 'node') await runScript(process.argv.slice(2));
else await import('../../apps/deployer/src/main.ts');

async function runScript(args: readonly string[]): Promise<void> {
  const at = args.findIndex((argument) => !argument.startsWith('--'));
  const [script = '', ...rest] = args.slice(at === -1 ? args.length : at);
  const importer = new Module('/importer.cjs') as Module & {
    paths: string[];
    _compile(code: string, filename: string): void;
  };
  importer.paths = [];
  if (script === '-e') {
    process.argv = [process.execPath, ...rest.slice(1)];
    importer._compile(rest[0] ?? '', '/[eval]');
    return;
  }
  process.argv = [process.execPath, resolve(script), ...rest];
  // What is embedded can import built-in modules only; what is compiled by the loader can import files.
  importer._compile('module.exports = (url) => import(url)', '/importer.cjs');
  await (importer.exports as (url: string) => Promise<unknown>)(pathToFileURL(resolve(script)).href);
}
