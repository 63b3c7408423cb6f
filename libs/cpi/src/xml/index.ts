export * from './xml-node.ts';
