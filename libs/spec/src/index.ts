export * from './apply-spec.ts';
export * from './build-apply-spec.ts';
export * from './deployment-model.ts';
export * from './settings.ts';
export * from './networks.ts';
export * from './release-model.ts';
export * from './stemcell-model.ts';
export * from './digest.ts';
export * from './adapt-micro-spec.ts';
export * from './compile-plan.ts';
export * from './ip-address.ts';
export * from './evaluate-manifest.ts';
export * from './artifacts/artifact-document.ts';
export * from './artifacts/job-manifest.ts';
export * from './artifacts/release-manifest.ts';
export * from './artifacts/stemcell-manifest.ts';
export * from './manifest/manifest-problem.ts';
export * from './manifest/translate-create-env.ts';
export * from './manifest/translate-micro.ts';
export { createEnvManifestSchema } from './manifest/create-env-schema.ts';
export { microManifestSchema } from './manifest/micro-schema.ts';
export * from './ops/op-path.ts';
export * from './ops/ops-file.ts';
export * from './state/deployment-state.ts';
export * from './state/legacy-deployments.ts';
export * from './variables/check-variables.ts';
export * from './variables/rotate-variables.ts';
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
export {
  generateCertificate,
  type CertificateValue,
  type SigningCa,
} from './variables/generate/certificate.ts';
