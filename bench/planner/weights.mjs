/**
 * Owns: weights of any number format for measurements: in memory, or in a mapped file as those of models are.
 * Refuses to know: what is measured.
 */
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dtype, rowBytes } from '../../dist/dtypes/table.js';
import { openFile } from '../../dist/formats/byte-source.node.js';
import { someIds } from '../engine/child.mjs';

const POOL_ROWS = 64;

/** Evenly distributed numbers where the format can be written, any bytes otherwise: both cost the same. */
export function weightBytes(name, cols, rows) {
  const row = rowBytes(name, cols);
  const data = new Uint8Array(row * rows);
  const { encode } = dtype(name);
  const pool = Math.min(POOL_ROWS, rows);
  for (let i = 0; i < pool; i++) {
    if (encode)
      encode(
        Float32Array.from(someIds(cols, 30_000, i + 1), (id) => (id / 15_000 - 1) * 0.02),
        0,
        data,
        i * row,
        cols,
      );
    else data.set(someIds(row, 100, i + 1), i * row);
  }
  for (let i = pool; i < rows; i++) data.copyWithin(i * row, (i % pool) * row, ((i % pool) + 1) * row);
  return data;
}

/**
 * A mapped file of at least `least` bytes, as matrices of `rows` rows and, for each number in `cuts`, the same bytes as
 * matrices of that many rows. The file is gone when this returns; its bytes stay while the backend lives.
 */
export async function mapWeights(backend, name, { cols, rows, cuts, least }) {
  const folder = mkdtempSync(join(tmpdir(), 'hadal-kernels-'));
  try {
    const path = join(folder, 'weights');
    const matrix = weightBytes(name, cols, rows);
    const count = Math.ceil(least / matrix.length);
    const file = openSync(path, 'w');
    for (let i = 0; i < count; i++) writeSync(file, matrix);
    closeSync(file);
    const source = await openFile(path);
    const of = (rowsEach) => {
      const bytes = rowsEach * rowBytes(name, cols);
      return Array.from({ length: Math.floor((count * matrix.length) / bytes) }, (_, i) => ({
        name: `${rowsEach} rows, ${i}`,
        dtype: name,
        shape: [cols, rowsEach],
        offset: i * bytes,
        bytes,
        source: 0,
      }));
    };
    const wanted = [rows, ...cuts].map(of);
    const loaded = await backend.load(source, wanted.flat());
    await source.close();
    return wanted.map((infos) => infos.map((info) => loaded.get(info.name)));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
