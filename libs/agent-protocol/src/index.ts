export * from './blob-path.ts';
export * from './bootstrap-report.ts';
export * from './digest.ts';
export * from './envelope.ts';
export * from './methods.ts';
export * from './schemas.ts';
export * from './validation.ts';
