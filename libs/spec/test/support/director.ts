import { readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import type { EvaluateManifestInput } from '../../src/evaluate-manifest.ts';
import { readVariableDefinitions } from '../../src/variables/variable-definitions.ts';
import { emitYaml } from '../../src/yaml/emit-yaml.ts';
import { parseYaml } from '../../src/yaml/parse-yaml.ts';
import { fromJson, mappingNode, setKey } from '../../src/yaml/yaml-node.ts';
import { testdata } from './golden.ts';

/** The director-size manifest with its ops files and variables. */
export function directorInput(): EvaluateManifestInput {
  const folder = resolve(import.meta.dirname, '../../testdata/director/ops');
  return {
    text: testdata('director/manifest.yml'),
    file: 'manifest.yml',
    ops: readdirSync(folder)
      .sort()
      .map((name) => ({ file: `ops/${name}`, text: testdata(`director/ops/${name}`) })),
    variables: { files: [{ file: 'vars.yml', text: testdata('director/vars.yml') }] },
  };
}

/** A store with a value of the right shape for every variable of the director manifest; the values mean nothing. */
export function filledDirectorStore(): string {
  const pem = '-----BEGIN CERTIFICATE-----\nMDAw\n-----END CERTIFICATE-----\n';
  const values: Readonly<Record<string, Record<string, string>>> = {
    certificate: { ca: pem, certificate: pem, private_key: pem },
    ssh: { private_key: pem, public_key: 'ssh-rsa AAAA\n', public_key_fingerprint: '00:11' },
    rsa: { private_key: pem, public_key: pem },
    user: { username: 'operator', password: 'secret', password_hash: '$6$x$y' },
  };
  const store = mappingNode();
  for (const { name, type } of readVariableDefinitions(
    parseYaml(testdata('director/manifest.yml'), { file: 'manifest.yml' }),
  )) {
    if (type === '') continue;
    setKey(store, name, fromJson(values[type] ?? `${name}-value`));
  }
  return emitYaml(store);
}
