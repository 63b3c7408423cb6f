import { runCpiExecutable } from '@microbosh/cpi';
import { createOpenstackCpi } from './openstack-cpi.ts';

await runCpiExecutable(createOpenstackCpi);
