export { createVsphereCpi } from './vsphere-cpi.ts';
export { elementOrder } from './data-objects.ts';
