/**
 * Owns: the configuration file of a server: its schema, its defaults, reading it.
 * Refuses to know: the command line, how anything is served.
 */
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { HadalError } from '../error.ts';

const modelSchema = z.union([
  z.string().min(1),
  z.strictObject({
    source: z
      .string()
      .min(1)
      .describe('a GGUF file, beside this file or absolute, or a name of the catalogue'),
    name: z.string().min(1).max(256).optional().describe('what requests call it; from its source otherwise'),
    aliases: z.array(z.string().min(1).max(256)).optional().describe('further names'),
    pin: z.boolean().optional().describe('loaded at the start and never put out'),
    pooling: z
      .enum(['mean', 'last'])
      .optional()
      .describe("how embeddings are pooled; the file's own otherwise, else mean"),
  }),
]);

/** The configuration file. */
export const configSchema = z.strictObject({
  $schema: z.string().optional(),
  host: z.string().min(1).optional().describe('where to listen; 127.0.0.1 otherwise'),
  port: z.int().min(0).max(65_535).optional().describe('11434 otherwise; 0 takes a free one'),
  models: z.array(modelSchema).optional().describe('what is served'),
  context_tokens: z.int().min(2).optional().describe('of each answer; what fits otherwise'),
  cache_tokens: z
    .int()
    .min(2)
    .optional()
    .describe('of all answers together, and of prefixes that are kept; what fits otherwise'),
  parallel: z
    .int()
    .min(1)
    .max(256)
    .optional()
    .describe('answers of one model at the same time; 16 otherwise'),
  prompt_ms: z
    .int()
    .min(1)
    .max(60_000)
    .optional()
    .describe('how long prompts may hold the next tokens of other answers up; 250 otherwise'),
  threads: z.int().min(1).max(1024).optional(),
  memory_bytes: z.int().min(1).optional().describe('for all models together; 90 % of the machine otherwise'),
  keep_alive_seconds: z
    .number()
    .optional()
    .describe('how long an unused model stays; 300 otherwise, -1 is for ever'),
  share_cache: z.boolean().optional().describe('prefixes are shared between keys; off otherwise'),
  disk_cache_bytes: z
    .int()
    .min(1)
    .optional()
    .describe('prefixes are kept on disk, which holds what was asked, up to so many bytes; off otherwise'),
  disk_cache_hours: z.number().gt(0).optional().describe('how long they are kept; 24 otherwise'),
  policy: z
    .string()
    .min(1)
    .optional()
    .describe('a policy, beside this file: which model files may be loaded'),
  offline: z.boolean().optional().describe('nothing may go out: no fetching, no connections'),
  keys: z
    .string()
    .min(1)
    .optional()
    .describe('the file of keys, beside this file; where `hadal keys` puts it otherwise'),
  hosts: z.array(z.string().min(1)).optional().describe('further names that a Host header may hold'),
  origins: z.array(z.string().min(1)).optional().describe('pages elsewhere that may call'),
  max_body_bytes: z.int().min(1024).optional().describe('of a request; 8 MiB otherwise'),
  max_open_requests: z.int().min(1).optional().describe('answered or waiting; 256 otherwise'),
  ping_seconds: z
    .number()
    .min(0.1)
    .max(600)
    .optional()
    .describe('between comments on a silent stream; 15 otherwise'),
});

/** What a configuration file says; everything may be left out. */
export type ServeConfig = z.output<typeof configSchema>;

/** A configured model in full. */
export type ConfiguredModel = Exclude<NonNullable<ServeConfig['models']>[number], string>;

/**
 * The schema as JSON Schema, for editors.
 *
 * @example writeFileSync('serve.schema.json', JSON.stringify(configJsonSchema()));
 */
export function configJsonSchema(): object {
  return z.toJSONSchema(configSchema, { target: 'draft-2020-12' });
}

/** Where a configuration is looked for when none is named: `$XDG_CONFIG_HOME/hadal/serve.json`. */
export function configPath(env: Readonly<Record<string, string | undefined>>): string {
  return join(env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'hadal', 'serve.json');
}

/**
 * The configuration at its usual place; an empty one where there is none.
 *
 * @throws HadalError as {@link readConfig} does.
 * @example usualConfig(process.env).policy
 */
export function usualConfig(env: Readonly<Record<string, string | undefined>>): ServeConfig {
  const path = configPath(env);
  return existsSync(path) ? readConfig(path) : {};
}

/**
 * Reads a configuration file.
 *
 * @throws HadalError `config-missing`, `config-broken`, naming the field
 * @example readConfig('serve.json').port;
 */
export function readConfig(path: string): ServeConfig {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new HadalError('config-missing', {
      what: path,
      expected: 'a configuration file',
      got: code === 'ENOENT' ? 'nothing there' : (code ?? String(error)),
      next: 'check the path',
    });
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw broken(path, error instanceof Error ? error.message : String(error));
  }
  const result = configSchema.safeParse(json);
  if (result.success) return besideFile(result.data, dirname(path));
  const [issue] = result.error.issues;
  throw broken(path, `${issue?.path.join('.') || 'the document'}: ${issue?.message}`);
}

/** Files are meant from where the configuration is, wherever the server is started. A model that is no file there is a name. */
function besideFile(config: ServeConfig, folder: string): ServeConfig {
  const { policy, keys, models } = config;
  const model = (source: string) => {
    const path = resolve(folder, source);
    return existsSync(path) ? path : source;
  };
  return {
    ...config,
    ...(policy === undefined ? {} : { policy: resolve(folder, policy) }),
    ...(keys === undefined ? {} : { keys: resolve(folder, keys) }),
    ...(models === undefined
      ? {}
      : {
          models: models.map((one) =>
            typeof one === 'string' ? model(one) : { ...one, source: model(one.source) },
          ),
        }),
  };
}

function broken(path: string, got: string): HadalError {
  return new HadalError('config-broken', {
    what: path,
    expected: 'JSON as `hadal serve --schema` describes it',
    got,
    next: 'mend the file',
  });
}
