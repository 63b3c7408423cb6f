import { runCpiExecutable } from '@microbosh/cpi';
import { createVcloudCpi } from './vcloud-cpi.ts';

await runCpiExecutable(createVcloudCpi);
