export * from './adapters/postgres/postgres-store.ts';
