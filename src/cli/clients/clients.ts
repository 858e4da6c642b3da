/**
 * Owns: the table of programs that can be pointed at a server: which file of theirs, which settings, how they start.
 * Refuses to know: how files are changed, whether a server runs.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Change } from './changes.ts';
import { configFolder, homeFolder, type SettingsFile } from './settings-file.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** What a client is pointed at. */
export interface Target {
  /** Without a path, e.g. `http://127.0.0.1:11434`. */
  readonly url: string;
  readonly model: string;
  /** Undefined where the server asks for none. */
  readonly key: string | undefined;
}

/** A program that can be pointed at a server. */
export interface Client {
  readonly name: string;
  readonly title: string;
  /** Its file of settings for one person. */
  file(env: Environment): SettingsFile;
  changes(target: Target): readonly Change[];
  /** What starts it; what is looked for in `PATH`. */
  readonly command: string;
  /** How it is had. */
  readonly install: string;
}

/** What clients are given that want a key where the server asks for none. */
const NO_KEY = 'none';
/** Under which name clients list it. */
const TITLE = 'Hadal';
const ID = 'hadal';

const set = (path: Change['path'], value: unknown): Change => ({ path, value });
const setOnce = (path: Change['path'], value: unknown): Change => ({ path, value, ifAbsent: true });

/** All of them, in the order of the help. */
export const CLIENTS: readonly Client[] = [
  {
    name: 'claude-code',
    title: 'Claude Code',
    command: 'claude',
    install: 'npm install -g @anthropic-ai/claude-code',
    file: (env) => ({
      path: join(env.CLAUDE_CONFIG_DIR || join(homeFolder(env), '.claude'), 'settings.json'),
      format: 'json',
    }),
    changes: ({ url, model, key = NO_KEY }) =>
      Object.entries({
        ANTHROPIC_BASE_URL: url,
        ANTHROPIC_AUTH_TOKEN: key,
        ANTHROPIC_MODEL: model,
        // For its small tasks, and for the names of models that its commands have.
        ANTHROPIC_DEFAULT_HAIKU_MODEL: model,
        ANTHROPIC_DEFAULT_SONNET_MODEL: model,
        ANTHROPIC_DEFAULT_OPUS_MODEL: model,
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
        // Else its instructions begin with a line that changes from request to request.
        CLAUDE_CODE_ATTRIBUTION_HEADER: '0',
      }).map(([name, value]) => set(['env', name], value)),
  },
  {
    name: 'codex',
    title: 'Codex',
    command: 'codex',
    install: 'npm install -g @openai/codex',
    file: (env) => ({
      path: join(env.CODEX_HOME || join(homeFolder(env), '.codex'), 'config.toml'),
      format: 'toml',
    }),
    changes: ({ url, model, key }) => [
      set(['model'], model),
      set(['model_provider'], ID),
      // The model is no search engine, and a request for one is refused.
      set(['web_search'], 'disabled'),
      set(['model_providers', ID], {
        name: TITLE,
        base_url: `${url}/v1`,
        wire_api: 'responses',
        // It takes keys from the environment only.
        ...(key === undefined ? {} : { env_key: KEY_VARIABLE }),
      }),
    ],
  },
  {
    name: 'continue',
    title: 'Continue',
    command: 'cn',
    install: 'npm install -g @continuedev/cli, or the extension of your editor',
    file: (env) => ({
      path: join(env.CONTINUE_GLOBAL_DIR || join(homeFolder(env), '.continue'), 'config.yaml'),
      format: 'yaml',
    }),
    changes: ({ url, model, key = NO_KEY }) => [
      setOnce(['name'], TITLE),
      setOnce(['version'], '1.0.0'),
      setOnce(['schema'], 'v1'),
      set(['models', { name: TITLE }], {
        name: TITLE,
        provider: 'openai',
        model,
        apiBase: `${url}/v1`,
        apiKey: key,
        roles: ['chat', 'edit', 'apply'],
      }),
    ],
  },
  {
    name: 'aider',
    title: 'Aider',
    command: 'aider',
    install: 'python -m pip install aider-chat',
    file: (env) => ({ path: join(homeFolder(env), '.aider.conf.yml'), format: 'yaml' }),
    changes: ({ url, model, key = NO_KEY }) => [
      set(['model'], `openai/${model}`),
      set(['openai-api-base'], `${url}/v1`),
      set(['openai-api-key'], key),
    ],
  },
  {
    name: 'cline',
    title: 'Cline',
    command: 'cline',
    install: 'npm install -g cline',
    file: (env) => ({
      path: join(homeFolder(env), '.cline', 'data', 'settings', 'providers.json'),
      format: 'json',
    }),
    changes: ({ url, model, key = NO_KEY }) => [
      setOnce(['version'], 1),
      set(['lastUsedProvider'], 'openai-compatible'),
      set(['providers', 'openai-compatible', 'settings'], {
        provider: 'openai-compatible',
        apiKey: key,
        model,
        baseUrl: `${url}/v1`,
      }),
      setOnce(['providers', 'openai-compatible', 'updatedAt'], new Date(0).toISOString()),
      setOnce(['providers', 'openai-compatible', 'tokenSource'], 'manual'),
    ],
  },
  {
    name: 'opencode',
    title: 'opencode',
    command: 'opencode',
    install: 'npm install -g opencode-ai',
    file: (env) => {
      const folder = join(configFolder(env), 'opencode');
      const commented = join(folder, 'opencode.jsonc');
      return {
        path: existsSync(commented) ? commented : join(folder, 'opencode.json'),
        format: 'jsonc',
      };
    },
    changes: ({ url, model, key = NO_KEY }) => [
      set(['model'], `${ID}/${model}`),
      set(['provider', ID], {
        npm: '@ai-sdk/openai-compatible',
        name: TITLE,
        options: { baseURL: `${url}/v1`, apiKey: key },
        models: { [model]: { name: model } },
      }),
    ],
  },
  {
    name: 'llama-vscode',
    title: 'llama.vscode',
    command: 'code',
    install: 'Visual Studio Code with the extension ggml-org.llama-vscode',
    file: (env) => ({ path: join(codeFolder(env), 'User', 'settings.json'), format: 'jsonc' }),
    changes: ({ url, model, key }) => [
      ...['endpoint', 'endpoint_chat', 'endpoint_tools', 'endpoint_embeddings'].map((name) =>
        set([`llama-vscode.${name}`], url),
      ),
      set(['llama-vscode.ai_model'], model),
      // Its own server is not needed then.
      set(['llama-vscode.ask_install_llamacpp'], false),
      ...(key === undefined
        ? []
        : ['api_key', 'api_key_chat', 'api_key_tools', 'api_key_embeddings'].map((name) =>
            set([`llama-vscode.${name}`], key),
          )),
    ],
  },
];

/** The variable that holds the key of a server. */
export const KEY_VARIABLE = 'HADAL_KEY';

/** Where Visual Studio Code keeps what is one person's. */
function codeFolder(env: Environment): string {
  if (process.platform === 'darwin') return join(homeFolder(env), 'Library', 'Application Support', 'Code');
  if (process.platform === 'win32') return join(env.APPDATA || homeFolder(env), 'Code');
  return join(configFolder(env), 'Code');
}
