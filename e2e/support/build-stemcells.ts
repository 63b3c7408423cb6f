/** Builds the stemcells of the journeys that every check makes; the second takes the root file system of the first. */
import { fullLocalStemcell, qemuStemcell } from './full-stemcell.ts';

await fullLocalStemcell();
await qemuStemcell();
