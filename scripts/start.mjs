/**
 * Owns: `npm start`: install, build, one question to a small real model, and in a terminal the chat.
 * Refuses to know: where models come from; the command line says that itself.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { install, ROOT, say } from './install.mjs';

const MODEL = 'smollm2-135m';
const QUESTION = 'What is gravity?';

try {
  install();
  const { build } = await import('./build.mjs');
  const native = await build();
  const status = hadal(['run', MODEL, QUESTION, '-n', '200'], native);
  if (status !== 0 || !process.stdin.isTTY || !process.stdout.isTTY) process.exitCode = status;
  else process.exitCode = hadal(['run', MODEL], native);
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}

function hadal(args, native) {
  const shown = args.map((word) => (word.includes(' ') ? `"${word}"` : word)).join(' ');
  say('run', `node dist/cli/main.js ${shown}`);
  // Ctrl-C belongs to the child: it stops the answer there, and ends this script by the child's exit code.
  const ignore = () => {};
  process.on('SIGINT', ignore);
  const { status, signal } = spawnSync(process.execPath, [join(ROOT, 'dist/cli/main.js'), ...args], {
    stdio: 'inherit',
    env: environment(native),
  });
  process.off('SIGINT', ignore);
  return status ?? (signal === 'SIGINT' ? 130 : 1);
}

/** Without the addon the build has warned already; the reference backend is then asked for by name. */
function environment(native) {
  if (native?.built !== false || process.env.HADAL_BACKEND !== undefined) return process.env;
  return { ...process.env, HADAL_BACKEND: 'reference' };
}
