import { runCpiExecutable } from '@microbosh/cpi';
import { createLocalCpi } from './local-cpi.ts';

await runCpiExecutable(createLocalCpi);
