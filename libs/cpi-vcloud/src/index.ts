export { createVcloudCpi } from './vcloud-cpi.ts';
