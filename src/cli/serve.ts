/**
 * Owns: `hadal serve`: the flags of the server, what is said while it runs, its orderly end.
 * Refuses to know: how anything is served.
 */
import { basename } from 'node:path';
import { defineCommand } from 'citty';
import { HadalError } from '../error.ts';
import { findModel, readCatalogue } from '../hub/catalogue.ts';
import { memoryHere } from '../runtime/memory.ts';
import type { ModelEvent, ServedModel } from '../server/models.ts';
import { startServer } from '../server/serve.ts';
import { readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { usageError } from './exit-codes.ts';
import { formatMs } from './figures.ts';
import { fetchShown } from './opening.ts';

export const text: CommandText = {
  usage: 'serve MODEL [MODEL…] [flags]',
  examples: ['hadal serve smollm2-135m', 'hadal serve ./model.gguf --port 8080'],
};

const DEFAULTS = {
  host: '127.0.0.1',
  port: 11434,
  maxBodyBytes: 8 << 20,
  pingMs: 15_000,
  keepAliveMs: 300_000,
};
/** The part of the memory that models may take together. */
const MEMORY_SHARE = 0.9;
const MAX_SEQUENCES = 16;
/** How long running answers may go on when the server is to end. */
const GRACE_MS = 30_000;

export const command = defineCommand({
  meta: { name: 'serve', description: 'answer over HTTP, as the APIs of OpenAI and DeepSeek do' },
  args: {
    models: { type: 'positional', required: false, description: 'GGUF files, or names of the catalogue' },
    host: {
      type: 'string',
      valueHint: 'ADDRESS',
      description: `where to listen; ${DEFAULTS.host} otherwise`,
    },
    port: { type: 'string', valueHint: 'N', description: `${DEFAULTS.port} otherwise` },
    context: {
      type: 'string',
      alias: 'c',
      valueHint: 'N',
      description: 'tokens of context; what fits otherwise',
    },
    threads: { type: 'string', valueHint: 'N', description: 'threads; all that may be used otherwise' },
    json: { type: 'boolean', description: 'say where it listens as one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const { terminal, interruption, env } = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs);
    if (given.words.length === 0) {
      throw usageError({ what: 'MODEL is missing', next: `usage: hadal ${text.usage}` });
    }
    const contextTokens = given.number('context', { min: 2, whole: true });
    const threads = given.number('threads', { min: 1, max: 1024, whole: true });
    const say = (sentence: string) => terminal.err(`${sentence}\n`);
    const server = await startServer(
      {
        host: given.text('host') ?? DEFAULTS.host,
        port: given.number('port', { min: 0, max: 65_535, whole: true }) ?? DEFAULTS.port,
        served: given.words.map(servedModel),
        local: {
          env,
          maxSequences: MAX_SEQUENCES,
          ...(contextTokens === undefined ? {} : { contextTokens }),
          ...(threads === undefined ? {} : { threads }),
          onAnnounce: fetchShown(terminal).onAnnounce,
          onWarning: (sentence) => say(`hadal: ${sentence}`),
        },
        budgetBytes: memoryHere().presentBytes * MEMORY_SHARE,
        keepAliveMs: DEFAULTS.keepAliveMs,
        maxBodyBytes: DEFAULTS.maxBodyBytes,
        hosts: [],
        origins: [],
        pingMs: DEFAULTS.pingMs,
        onModel: (event) => say(modelSentence(event)),
        onError: (error, requestId) => say(`request ${requestId} failed: ${describe(error)}`),
      },
      interruption.signal,
    );
    const models = given.words.map((source) => servedModel(source).name);
    if (given.has('json')) terminal.json({ url: server.url, models });
    else terminal.out(`serving ${models.join(', ')} at ${server.url}/v1\n`);
    await new Promise<void>((resolve) => {
      interruption.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    await server.close(GRACE_MS);
  },
});

/** A file is called by its name without the ending, a model of the catalogue as the catalogue calls it. */
function servedModel(source: string): ServedModel {
  const known = findModel(readCatalogue(), source);
  const name = known?.name ?? basename(source).replace(/\.gguf$/i, '');
  return { name, aliases: known?.aliases ?? [], source, pinned: true };
}

function modelSentence(event: ModelEvent): string {
  switch (event.type) {
    case 'loaded':
      return `${event.model}: loaded in ${formatMs(event.ms)}`;
    case 'failed':
    case 'died':
      return `${event.model}: ${event.type}: ${describe(event.error)}`;
    default:
      return `${event.model}: ${event.type}`;
  }
}

function describe(error: unknown): string {
  if (error instanceof HadalError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
