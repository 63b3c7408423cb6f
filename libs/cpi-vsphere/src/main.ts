import { runCpiExecutable } from '@microbosh/cpi';
import { createVsphereCpi } from './vsphere-cpi.ts';

await runCpiExecutable(createVsphereCpi);
