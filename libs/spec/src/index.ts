export * from './apply-spec.ts';
export * from './build-apply-spec.ts';
export * from './deployment-model.ts';
export * from './settings.ts';
export * from './networks.ts';
export * from './release-model.ts';
export * from './stemcell-model.ts';
export * from './adapt-micro-spec.ts';
export * from './compile-plan.ts';
export * from './digest.ts';
export * from './documents.ts';
export * from './ip-address.ts';
export * from './artifacts/artifact-document.ts';
export * from './artifacts/job-manifest.ts';
export * from './artifacts/release-manifest.ts';
export * from './artifacts/stemcell-manifest.ts';
export * from './manifest/check-job-references.ts';
export * from './manifest/json-schema.ts';
export * from './manifest/locate-property.ts';
export * from './manifest/manifest-problem.ts';
export * from './manifest/translate-create-env.ts';
export * from './manifest/translate-micro.ts';
export * from './state/deployment-state.ts';
export * from './state/legacy-deployments.ts';
export {
  generateCertificate,
  type CertificateValue,
  type SigningCa,
} from './variables/generate/certificate.ts';
