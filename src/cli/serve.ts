/**
 * Owns: `hadal serve`: the flags of the server, what is said while it runs, its orderly end.
 * Refuses to know: how anything is served.
 */
import { basename } from 'node:path';
import { defineCommand } from 'citty';
import { archiveFigures } from '../engine/page-folder.node.ts';
import { keysPath, watchedKeys } from '../http/keys.ts';
import { createLog } from '../http/log.ts';
import { findModel, readCatalogue } from '../hub/catalogue.ts';
import { isOffline, sealedSocket } from '../hub/offline.node.ts';
import { pageCacheFolder } from '../hub/store.node.ts';
import { memoryHere } from '../runtime/memory.ts';
import type { OpenOptions } from '../runtime/open.node.ts';
import {
  type ConfiguredModel,
  configJsonSchema,
  readConfig,
  type ServeConfig,
  usualConfig,
} from '../server/config.ts';
import type { ModelEvent, ServedModel } from '../server/models.ts';
import { type ServeSettings, startServer } from '../server/serve.ts';
import { type Arguments, readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { usageError } from './exit-codes.ts';
import { formatMs } from './figures.ts';
import { OFFLINE_FLAG, ranSealed } from './offline.ts';
import { fetchShown } from './opening.ts';
import { admissionOf, POLICY_FLAG } from './policy.ts';
import { packageVersion } from './version.ts';

export const text: CommandText = {
  usage: 'serve [MODEL…] [flags]',
  examples: [
    'hadal serve smollm2-135m',
    'hadal serve ./model.gguf --port 8080',
    'hadal serve --config serve.json --host 0.0.0.0',
  ],
};

/** The part of the memory that models may take together. */
const MEMORY_SHARE = 0.9;
/** How long running answers may go on when the server is to end. */
const GRACE_MS = 30_000;
/** What the end itself may take after that. */
const CLOSING_MS = 15_000;

export const command = defineCommand({
  meta: { name: 'serve', description: 'answer over HTTP, as the APIs of OpenAI and DeepSeek do' },
  args: {
    models: {
      type: 'positional',
      required: false,
      description: 'GGUF files or known names; else those of --config',
    },
    config: { type: 'string', valueHint: 'FILE', description: 'a configuration; flags go before it' },
    host: { type: 'string', valueHint: 'ADDRESS', description: 'where to listen; 127.0.0.1 otherwise' },
    port: { type: 'string', valueHint: 'N', description: '11434 otherwise; 0 takes a free one' },
    keys: {
      type: 'string',
      valueHint: 'FILE',
      description: 'the file of keys; the usual one otherwise',
    },
    'allow-host': {
      type: 'string',
      valueHint: 'NAME',
      description: 'a further name of this server',
    },
    'allow-origin': {
      type: 'string',
      valueHint: 'URL',
      description: 'a page elsewhere that may call',
    },
    context: {
      type: 'string',
      alias: 'c',
      valueHint: 'N',
      description: 'tokens of context; what fits otherwise',
    },
    parallel: {
      type: 'string',
      valueHint: 'N',
      description: 'answers at the same time; 16 otherwise',
    },
    'prompt-ms': {
      type: 'string',
      valueHint: 'N',
      description: 'ms that prompts may hold answers up; 250 otherwise',
    },
    threads: { type: 'string', valueHint: 'N', description: 'threads; all that may be used otherwise' },
    ...OFFLINE_FLAG,
    ...POLICY_FLAG,
    schema: { type: 'boolean', description: 'print the JSON Schema of the configuration' },
    json: { type: 'boolean', description: 'say where it listens as one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const surroundings = data as Surroundings;
    const { terminal, interruption, env } = surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { repeated: ['allow-host', 'allow-origin'] });
    if (given.has('schema')) {
      terminal.json(configJsonSchema());
      return;
    }
    interruption.allow(GRACE_MS + CLOSING_MS);
    const config = configOf(given, env);
    const admission = await admissionOf(env, { given, config });
    const settings = settingsOf(given, config, surroundings, admission);
    if (given.has('offline') || config.offline === true || isOffline(env)) {
      const sources = settings.served.map(({ source }) => source);
      if (await ranSealed(surroundings, sources, settings)) return;
    }
    if (settings.local.diskCache === undefined) await warnOfPages(settings, env);
    const server = await startServer(settings, interruption.signal);
    const models = settings.served.map(({ name }) => name);
    if (given.has('json')) terminal.json({ url: server.url, models, keys: settings.keys.required });
    else terminal.out(`serving ${models.join(', ')} at ${server.url}/v1\nthe page is at ${server.url}/\n`);
    await new Promise<void>((resolve) => {
      if (interruption.signal.aborted) resolve();
      interruption.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    if (terminal.errIsTerminal) terminal.err('finishing what runs (again to end at once)\n');
    await server.close(GRACE_MS);
  },
});

function configOf(given: Arguments, env: Surroundings['env']): ServeConfig {
  const named = given.text('config');
  if (named !== undefined) return readConfig(named);
  return usualConfig(env);
}

function settingsOf(
  given: Arguments,
  config: ServeConfig,
  { terminal, env }: Surroundings,
  admission: Pick<OpenOptions, 'admit'>,
): ServeSettings {
  const served = servedModels(
    given.words.length > 0 ? given.words : (config.models ?? []),
    given.words.length > 0,
  );
  const log = createLog(process.stderr);
  const socket = sealedSocket(env);
  const contextTokens = given.number('context', { min: 2, whole: true }) ?? config.context_tokens;
  const threads = given.number('threads', { min: 1, max: 1024, whole: true }) ?? config.threads;
  const promptMs = given.number('prompt-ms', { min: 1, max: 60_000, whole: true }) ?? config.prompt_ms;
  const keysFile = given.text('keys') ?? config.keys;
  const keysAt = keysFile ?? keysPath(env);
  const onTrouble = (error: unknown) => log.error({ error: String(error) }, 'keys stay as they were');
  return {
    version: packageVersion(),
    host: given.text('host') ?? config.host ?? '127.0.0.1',
    port: given.number('port', { min: 0, max: 65_535, whole: true }) ?? config.port ?? 11_434,
    ...(socket === undefined ? {} : { socket }),
    served,
    local: {
      env,
      ...admission,
      leaseName: env.HADAL_LEASE ?? `hadal-compute-${process.getuid?.() ?? ''}`,
      maxSequences: given.number('parallel', { min: 1, max: 256, whole: true }) ?? config.parallel ?? 16,
      ...(promptMs === undefined ? {} : { promptMs }),
      ...(contextTokens === undefined ? {} : { contextTokens }),
      ...diskCacheOf(config, env),
      ...(config.cache_tokens === undefined ? {} : { cacheTokens: config.cache_tokens }),
      ...(threads === undefined ? {} : { threads }),
      onAnnounce: fetchShown(terminal).onAnnounce,
      onWarning: (sentence) => log.warn({}, sentence),
    },
    budgetBytes: config.memory_bytes ?? memoryHere().presentBytes * MEMORY_SHARE,
    keepAliveMs: (config.keep_alive_seconds ?? 300) * 1000,
    maxBodyBytes: config.max_body_bytes ?? 8 << 20,
    maxOpen: config.max_open_requests ?? 256,
    hosts: [...(config.hosts ?? []), ...given.texts('allow-host')].map((name) => name.toLowerCase()),
    origins: [...(config.origins ?? []), ...given.texts('allow-origin')],
    sharedCache: config.share_cache ?? false,
    pingMs: (config.ping_seconds ?? 15) * 1000,
    // A file that was named has to be there; one that was not may be missing.
    keys: watchedKeys(keysAt, { onTrouble, mayBeMissing: keysFile === undefined }),
    log,
    ...(terminal.errIsTerminal ? { onModel: (event) => terminal.err(modelSentence(event)) } : {}),
  };
}

/** Off unless it is asked for: it holds content. */
function diskCacheOf(
  config: ServeConfig,
  env: Surroundings['env'],
): Pick<ServeSettings['local'], 'diskCache'> {
  const { disk_cache_bytes: maxBytes, disk_cache_hours: hours = 24 } = config;
  if (maxBytes === undefined) return {};
  const folder = pageCacheFolder(env);
  return { diskCache: { folder, maxBytes, ttlMs: hours * 3_600_000, version: packageVersion() } };
}

/** What an earlier server kept is nobody's to remove where no cache on disk is asked for. */
async function warnOfPages({ log }: ServeSettings, env: Surroundings['env']): Promise<void> {
  const { pages } = await archiveFigures(pageCacheFolder(env));
  if (pages > 0)
    log.warn({ pages }, 'pages of prompts are on disk, and no cache on disk is asked for: hadal cache rm');
}

/** Models of the command line are pinned; those of a configuration where it says so. */
function servedModels(models: readonly (string | ConfiguredModel)[], pinned: boolean): ServedModel[] {
  if (models.length === 0) {
    throw usageError({
      what: 'MODEL is missing',
      next: `name one, or list models in a configuration; usage: hadal ${text.usage}`,
    });
  }
  const served = models.map((model) => {
    const { source, name, aliases, pin, pooling } =
      typeof model === 'string' ? ({ source: model } as ConfiguredModel) : model;
    const known = findModel(readCatalogue(), source);
    return {
      // A file is called by its name without the ending, a model of the catalogue as the catalogue calls it.
      name: name ?? known?.name ?? basename(source).replace(/\.gguf$/i, ''),
      aliases: aliases ?? known?.aliases ?? [],
      source,
      pinned: pin ?? pinned,
      ...(pooling === undefined ? {} : { pooling }),
    };
  });
  const names = served.flatMap(({ name, aliases }) => [name, ...aliases]).map((name) => name.toLowerCase());
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice === undefined) return served;
  throw usageError({ what: `the name ${twice}`, expected: 'one model of that name', got: 'two' });
}

function modelSentence(event: ModelEvent): string {
  return event.type === 'loaded'
    ? `${event.model}: loaded in ${formatMs(event.ms)}\n`
    : `${event.model}: ${event.type}\n`;
}
