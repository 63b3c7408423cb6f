export {
  buildStemcell,
  type BuildProgress,
  type BuiltStemcell,
  type StemcellRequest,
} from './build-stemcell.ts';
export * from './errors.ts';
export { bakeMicro, type MicroRequest } from './micro.ts';
export { flavourOf, iaasNames, isIaas, type Iaas } from './flavour.ts';
export { ovfDescriptor, type OvfDisk } from './ovf.ts';
