/**
 * Owns: what a scorer said to windows of a text, kept on disk so that it is asked once.
 * Refuses to know: which model it is, who asks again.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { HadalError } from '../error.ts';
import type { Scorer } from './perplexity.ts';

/**
 * A scorer that asks another one only what is not in its folder, and keeps the logits of the second half of each text,
 * which is what `evaluateText` judges: 4 bytes for each token of the vocabulary and each of those positions.
 *
 * @param ask opens the other one, when it is needed for the first time
 * @example evaluateText(model.engine, tokenizer, text, { reference: remembered('./rows', async () => reference.engine) });
 */
export function remembered(folder: string, ask: () => Promise<Scorer>): Scorer {
  return {
    async *score({ ids, ...request }) {
      const from = Math.floor(ids.length / 2);
      const path = join(folder, `${createHash('sha256').update(ids.join()).digest('hex').slice(0, 24)}.f32`);
      if (!existsSync(path)) {
        await mkdir(folder, { recursive: true });
        const scorer = await ask();
        await write(path, scorer.score({ ids, ...request }), from, ids.length);
      }
      const { buffer, byteOffset, byteLength } = await readFile(path);
      const logits = new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
      yield { firstPosition: from, logits };
    },
  };
}

/** Writes rows from position `from` on. Under the final name there is only a whole file. */
async function write(
  path: string,
  events: ReturnType<Scorer['score']>,
  from: number,
  to: number,
): Promise<void> {
  const part = `${path}.part`;
  const handle = await open(part, 'w');
  try {
    let held: { readonly firstPosition: number; readonly logits: Float32Array } | undefined;
    const flush = async (end: number) => {
      if (held === undefined) return;
      const { firstPosition, logits } = held;
      const vocab = logits.length / (end - firstPosition);
      const rows = logits.subarray(Math.max(0, from - firstPosition) * vocab);
      // Not `write`, which may write a part.
      await handle.writeFile(new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength));
    };
    for await (const event of events) {
      await flush(event.firstPosition);
      held = event;
    }
    await flush(to);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOSPC') throw cause;
    const next = 'make room there, or take fewer windows (--windows)';
    const what = `the disk of ${path}, which holds the logits of the reference, is full`;
    throw new HadalError('disk-full', { what, next }, { cause });
  } finally {
    await handle.close();
  }
  await rename(part, path);
}
