/**
 * Owns: a `hadal serve` of our own to be measured: starting it, its processes' memory and time, its metrics.
 * Refuses to know: what is asked of it, what is measured.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fetched } from './client.mjs';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/**
 * Starts the command line's own server on a free port.
 *
 * @param {object} config as the configuration file has it
 * @returns {Promise<Served>}
 * @example const served = await serve({ models: [{ source: 'model.gguf', name: 'm', pin: true }] });
 */
export async function serve(config) {
  const folder = mkdtempSync(join(tmpdir(), 'hadal-bench-'));
  const path = join(folder, 'serve.json');
  writeFileSync(path, JSON.stringify({ port: 0, keep_alive_seconds: -1, ...config }));
  const args = [main, 'serve', '--config', path, '--json'];
  const env = {
    ...process.env,
    HADAL_HOME: process.env.HADAL_HOME ?? folder,
    HADAL_LEASE: `bench-${process.pid}`,
  };
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let words = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    words = (words + text).slice(-4000);
  });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    said += text;
  });
  while (!said.trimEnd().endsWith('}')) {
    const [code] = await Promise.race([once(child.stdout, 'data').then(() => []), once(child, 'exit')]);
    if (code !== undefined) throw new Error(`the server ended with ${code}: ${words}`);
  }
  return new Served(child, JSON.parse(said).url, folder, () => words);
}

class Served {
  #child;
  #folder;
  #words;

  constructor(child, url, folder, words) {
    this.#child = child;
    this.#folder = folder;
    this.#words = words;
    this.url = url;
  }

  /** The last lines of its log. */
  get log() {
    return this.#words();
  }

  /** Bytes in memory: of the server's own process, and of its engines, without what is mapped from files. */
  memory() {
    const { pid } = this.#child;
    const engines = readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && parentOf(name) === pid)
      .map((name) => anonymousBytes(name));
    return { serverBytes: anonymousBytes(pid), engineBytes: engines.reduce((sum, one) => sum + one, 0) };
  }

  /** Seconds of processor time that the server's own process has taken. */
  cpuSeconds() {
    const fields = statOf(this.#child.pid);
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  /** Values of its metrics by name and labels, e.g. `hadal_engine_steps{gen_ai_request_model="m"}`. */
  async metrics() {
    const { text } = await fetched(this.url, '/metrics');
    const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    return new Map(
      lines.map((line) => [
        line.slice(0, line.lastIndexOf(' ')),
        Number(line.slice(line.lastIndexOf(' ') + 1)),
      ]),
    );
  }

  /** Requests that the engine of a model runs or holds. */
  async busy(model) {
    const all = await this.metrics();
    const of = (name) => all.get(`hadal_engine_${name}_sequences{gen_ai_request_model="${model}"}`) ?? 0;
    return of('running') + of('waiting');
  }

  async close() {
    const gone = once(this.#child, 'exit');
    if (this.#child.exitCode === null) {
      this.#child.kill('SIGTERM');
      this.#child.kill('SIGTERM');
      await gone;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

const statOf = (pid) => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ');

function parentOf(pid) {
  try {
    return Number(statOf(pid)[1]);
  } catch {
    return undefined;
  }
}

function anonymousBytes(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/RssAnon:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
}
