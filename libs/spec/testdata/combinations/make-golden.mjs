// Writes combinations.golden.json: what go-patch and yaml.v2 make of every combination. Needs the program of ../oracle:
//   cd ../oracle && go build -o /tmp/oracle . && node ../combinations/make-golden.mjs /tmp/oracle
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { combinations } from './combinations.mjs';

const here = import.meta.dirname;
const read = (name) => readFileSync(`${here}/${name}.yml`, 'utf8');
const rows = combinations().map((names) => {
  let doc = read('bosh');
  for (const name of names) {
    const request = JSON.stringify({ doc, ops: read(name) });
    const answer = JSON.parse(spawnSync(process.argv[2], { input: `${request}\n`, encoding: 'utf8' }).stdout);
    if (answer.error) throw new Error(`${names}: ${answer.error}`);
    doc = answer.emitted;
  }
  return { names, lines: doc.split('\n').length, sha256: createHash('sha256').update(doc).digest('hex') };
});
writeFileSync(`${here}/combinations.golden.json`, `[\n${rows.map((row) => JSON.stringify(row)).join(',\n')}\n]\n`);
