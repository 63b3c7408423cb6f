export * from './apply-spec.ts';
export * from './deployment-model.ts';
export * from './settings.ts';
export * from './networks.ts';
export * from './release-model.ts';
export * from './stemcell-model.ts';
