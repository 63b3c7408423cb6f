import { protocolReference } from './reference.ts';

process.stdout.write(protocolReference());
