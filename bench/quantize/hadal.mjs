/**
 * Owns: one quantization by Hadal in a process of its own: its seconds on standard output.
 * Refuses to know: what it is compared with.
 *
 * node hadal.mjs IN OUT FILE_TYPE THREADS
 */
import { quantizeFile } from '../../dist/quantize/quantize.node.js';

const [path, out, fileType, threads] = process.argv.slice(2);
const startedMs = performance.now();
await quantizeFile({ path, out, fileType }, { threads: Number(threads), force: true });
console.log((performance.now() - startedMs) / 1000);
