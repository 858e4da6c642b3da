/**
 * Owns: the table of commands; each is imported only when it is needed.
 * Refuses to know: what the commands do.
 */
import type { CommandDef } from 'citty';
import type { CommandText } from './context.ts';
import type { WhenOffline } from './offline.ts';

/** A command file: its citty definition and the words of its help. */
export interface CommandModule {
  // citty's definitions differ in their argument types; nothing here looks at those.
  readonly command: CommandDef;
  readonly text: CommandText;
}

/** One line of the table. */
export interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<CommandModule>;
  readonly offline: WhenOffline;
}

const entry = (
  name: string,
  summary: string,
  load: () => Promise<unknown>,
  offline: WhenOffline = 'guarded',
): CommandEntry => ({
  name,
  summary,
  load: load as () => Promise<CommandModule>,
  offline,
});

/** All commands, in the order of the help. */
export const COMMANDS: readonly CommandEntry[] = [
  entry('run', 'answer a prompt, or open a chat', () => import('./run.ts'), 'itself'),
  entry(
    'serve',
    'answer over HTTP, as the APIs of OpenAI and DeepSeek do',
    () => import('./serve.ts'),
    'itself',
  ),
  entry('keys', 'say who may call the server', () => import('./keys.ts')),
  entry(
    'launch',
    'point a coding agent or editor at a server, and start it',
    () => import('./launch.ts'),
    'refused',
  ),
  entry('cache', 'show or erase what is kept on disk of prompts', () => import('./cache.ts')),
  entry('up', 'choose, fetch and serve a model, step by step', () => import('./up.ts'), 'refused'),
  entry('plan', 'show what this machine can run, how fast, and how', () => import('./plan.ts'), 'sealed'),
  entry('infill', 'write what belongs between two texts', () => import('./infill.ts'), 'sealed'),
  entry('pull', 'fetch a model, whole and checked', () => import('./pull.ts'), 'sealed'),
  entry('list', 'list the models on disk', () => import('./list.ts')),
  entry('show', 'show what is known of a model, on disk or published', () => import('./show.ts')),
  entry('rm', 'remove models from disk', () => import('./rm.ts')),
  entry('inspect', 'show what a model file holds, without loading it', () => import('./inspect.ts')),
  entry('audit', 'say whether a model file is safe to load, and why', () => import('./audit.ts')),
  entry('bundle', 'pack program, page, docs and models for a machine offline', () => import('./bundle.ts')),
  entry('verify', 'check that a bundle arrived as it was packed', () => import('./verify.ts')),
  entry('convert', 'write a Hugging Face folder as a GGUF file', () => import('./convert.ts'), 'sealed'),
  entry('quantize', 'write a model file in fewer bits', () => import('./quantize.ts'), 'sealed'),
  entry(
    'imatrix',
    'measure which columns of a model matter, for quantizing',
    () => import('./imatrix.ts'),
    'sealed',
  ),
  entry(
    'evaluate',
    'measure perplexity, what quantizing lost, benchmark tasks',
    () => import('./evaluate.ts'),
    'sealed',
  ),
  entry('bench', 'measure how fast a model runs here', () => import('./bench.ts'), 'sealed'),
  entry('tokenize', 'show how a text is cut into tokens', () => import('./tokenize.ts'), 'sealed'),
  entry('completion', 'print the completion script for bash, zsh or fish', () => import('./completion.ts')),
  entry('version', 'print the version and what it runs on', () => import('./version.ts')),
];
