/**
 * Owns: one quantization by Hadal in a process of its own: its seconds on standard output.
 * Refuses to know: what it is compared with.
 *
 * node hadal.mjs IN OUT FILE_TYPE THREADS [IMATRIX]
 */
import { openFile } from '../../dist/formats/byte-source.node.js';
import { readImatrix } from '../../dist/formats/imatrix.js';
import { quantizeFile } from '../../dist/quantize/quantize.node.js';

const [path, out, fileType, threads, given] = process.argv.slice(2);
const imatrix = given && { path: given, matrix: await matrixOf(given) };
const startedMs = performance.now();
await quantizeFile(
  { path, out, fileType, ...(imatrix && { imatrix }) },
  { threads: Number(threads), force: true },
);
console.log((performance.now() - startedMs) / 1000);

async function matrixOf(path) {
  const source = await openFile(path);
  const matrix = await readImatrix(source);
  await source.close();
  return matrix;
}
