export * from './cloud-connection.ts';
