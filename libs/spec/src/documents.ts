/**
 * The part of this library that evaluates documents, without schemas and models: commands that only print documents
 * load nothing else, which is what makes them start fast.
 */
export * from './evaluate-manifest.ts';
export * from './manifest/is-micro-manifest.ts';
export { limitNames, parseLimit } from './manifest/read-limits.ts';
export * from './ops/op-path.ts';
export * from './ops/ops-file.ts';
export * from './variables/check-variables.ts';
export * from './variables/converge-variables.ts';
export { RotationImpossible, rotateVariables, type RotateInput } from './variables/rotate-variables.ts';
export * from './variables/variable-definitions.ts';
export * from './variables/variable-errors.ts';
export { readStaticVariables, splitAssignment, type VariableSources } from './variables/variable-sources.ts';
export { VarsStore, type VarsStorePort } from './variables/vars-store.ts';
export * from './yaml/emit-yaml.ts';
export * from './yaml/parse-yaml.ts';
export type { YamlDialect } from './yaml/resolve-scalar.ts';
export * from './yaml/source-file.ts';
export * from './yaml/yaml-errors.ts';
export * from './yaml/yaml-node.ts';
