/**
 * Owns: where the file is that an engine's thread or process runs.
 * Refuses to know: what it does.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { HadalError } from '../error.ts';

/**
 * The engine's main file: beside this one, or where a checkout has been built when this is the source.
 *
 * @throws HadalError `not-built`
 * @example await startEngineHost({ mainFile: engineMainFile(), modelPath, kind: 'worker' });
 */
export function engineMainFile(): URL {
  const beside = new URL('./engine-main.node.js', import.meta.url);
  const built = new URL('../../dist/runtime/engine-main.node.js', import.meta.url);
  const main = existsSync(beside) ? beside : built;
  if (existsSync(main)) return main;
  throw new HadalError('not-built', {
    what: 'the engine',
    expected: fileURLToPath(built),
    got: 'nothing there',
    next: 'run `npm run build`',
  });
}
