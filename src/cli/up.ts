/**
 * Owns: `hadal up`: from a bare machine to a served model in five steps, each said with its reason and its own command.
 * Refuses to know: how any of the steps is done.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { defineCommand, runCommand } from 'citty';
import { HadalError } from '../error.ts';
import { findModel, readCatalogue } from '../hub/catalogue.ts';
import { familyReference, findInFamily, readFamily } from '../hub/family.ts';
import { resolveModel } from '../hub/fetch.node.ts';
import type { Machine } from '../planner/machine.ts';
import { type ModelPlan, planFamily, type Way } from '../planner/plan.ts';
import { readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { digits, formatBytes, formatCount } from './figures.ts';
import { fetchShown } from './opening.ts';
import { planNamed, probeShown } from './plan.ts';

export const text: CommandText = {
  usage: 'up [MODEL] [flags]',
  examples: ['hadal up', 'hadal up r1-distill-qwen-14b:Q4_K_M', 'hadal up ./model.gguf --dry-run'],
};

const PORT = 11_434;
/** More context than this is taken only by who asks for it: it costs memory and, when full, speed. */
const MOST_CONTEXT = 32_768;

export const command = defineCommand({
  meta: { name: 'up', description: 'choose, fetch and serve a model, step by step' },
  args: {
    model: {
      type: 'positional',
      required: false,
      description: 'a known name or a file; the best that fits otherwise',
    },
    port: { type: 'string', valueHint: 'N', description: '11434 otherwise' },
    'dry-run': { type: 'boolean', description: 'show the first two steps and what would follow' },
    json: { type: 'boolean', description: 'print what is decided as one JSON document, and stop' },
  },
  async run({ rawArgs, cmd, data }) {
    const surroundings = data as Surroundings;
    const { terminal, env, interruption } = surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { words: 1 });
    const port = given.number('port', { min: 1, max: 65_535, whole: true }) ?? PORT;
    const say = (step: string, what: string, again: string) => {
      if (!given.has('json'))
        terminal.out(`${step.padEnd(10)}${what}\n${' '.repeat(10)}again by hand: ${again}\n`);
    };

    // What cannot be had is refused before the machine is looked at.
    const [word] = given.words;
    const named = word === undefined ? undefined : asPublished(word);
    const machine = await probeShown(surroundings, false);
    say('assess', machineSentence(machine), 'hadal plan');

    const { name, plan, way } = await chosen(named, machine, surroundings);
    say('choose', choiceSentence(plan, way, named === undefined), `hadal plan ${name}`);

    const contextTokens = Math.min(way.longestContext, MOST_CONTEXT);
    const decided = {
      model: name,
      context_tokens: contextTokens,
      port,
      command: `hadal serve ${name} --context ${contextTokens} --port ${port}`,
    };
    if (given.has('json')) {
      terminal.json(decided);
      return;
    }
    if (given.has('dry-run')) {
      say(
        'then',
        `fetches ${formatBytes(plan.weightBytes)} if it is not here, and serves it`,
        decided.command,
      );
      return;
    }

    const { demandFree } = await import('../server/listen.ts');
    await demandFree('127.0.0.1', port);
    const shown = fetchShown(terminal);
    const options = {
      env,
      signal: interruption.signal,
      onAnnounce: shown.onAnnounce,
      onProgress: shown.onFetch,
      onWait: shown.onWait,
    };
    const path = await resolveModel(name, options).finally(() => terminal.progress(''));
    say('fetch', path, `hadal pull ${name}`);
    say(
      'configure',
      `${formatCount(contextTokens)} tokens of context, all of it in memory on the processor`,
      `hadal serve ${name} --context ${contextTokens}`,
    );
    say('serve', `a chat page and OpenAI's API at http://127.0.0.1:${port}`, decided.command);

    const stop = new AbortController();
    void openPage(`http://127.0.0.1:${port}`, surroundings, stop.signal);
    try {
      const { command: serve } = await import('./serve.ts');
      await runCommand(serve, {
        rawArgs: [path, '--context', String(contextTokens), '--port', String(port)],
        data: surroundings,
      });
    } finally {
      stop.abort();
    }
  },
});

interface Chosen {
  readonly name: string;
  readonly plan: ModelPlan;
  readonly way: Way;
}

/** What was named, or the best of the family that Hadal runs here and whose quantized files are known. */
async function chosen(
  named: string | undefined,
  machine: Machine,
  surroundings: Surroundings,
): Promise<Chosen> {
  if (named !== undefined) {
    if (!existsSync(named) && findModel(readCatalogue(), named) !== undefined) {
      const shown = fetchShown(surroundings.terminal);
      // A model of the catalogue is small: it is fetched to be looked at.
      await resolveModel(named, {
        env: surroundings.env,
        onAnnounce: shown.onAnnounce,
        onProgress: shown.onFetch,
        onWait: shown.onWait,
      });
    }
    const plan = await planNamed(named, machine, {}, surroundings);
    const way = plan.ways.find(({ engine }) => engine === 'hadal');
    if (way !== undefined) return { name: withQuantization(named, plan), plan, way };
    const why = plan.refusals.find(({ engine }) => engine === 'hadal')?.why ?? 'it cannot';
    const other = plan.ways[0];
    throw new HadalError('model-impossible', {
      what: named,
      expected: 'a model that Hadal runs on this machine',
      got: why,
      next:
        other === undefined
          ? `see what would fit, and how it is made: hadal plan ${named.replace(/:native$/, '')}`
          : `another engine does: ${other.command}`,
    });
  }
  const family = readFamily().filter(({ kind, gguf }) => kind !== 'base' && gguf !== undefined);
  for (const plan of planFamily(family, machine, {})) {
    const way = plan.ways.find(({ engine }) => engine === 'hadal');
    if (way !== undefined && plan.subject.quantization !== 'native') {
      return {
        name: withQuantization(plan.subject.model?.aliases?.[0] ?? plan.subject.name, plan),
        plan,
        way,
      };
    }
  }
  throw new HadalError('model-impossible', {
    what: 'this machine',
    expected: `memory for a model of the family`,
    got: formatBytes(machine.memory.bytes),
    next: 'try the small one: hadal up smollm2-135m',
  });
}

/**
 * A name under which there are files: where no repository of quantized ones is known, a model is taken as it was published.
 *
 * @throws HadalError `model-unknown`, `quantization-needed` for a quantization that nobody is known to have, with what to do
 */
function asPublished(named: string): string {
  if (existsSync(named) || findModel(readCatalogue(), named) !== undefined) return named;
  const family = readFamily();
  const of = family.find(({ repo }) => repo.toLowerCase() === named.toLowerCase());
  if (of !== undefined) return asPublished(of.name);
  familyReference(family, named);
  const colon = named.lastIndexOf(':');
  const { gguf } = findInFamily(family, colon < 0 ? named : named.slice(0, colon));
  return colon < 0 && gguf === undefined ? `${named}:native` : named;
}

function withQuantization(name: string, { subject }: ModelPlan): string {
  const { quantization } = subject;
  return quantization === 'file' || name.includes(':') ? name : `${name}:${quantization}`;
}

function machineSentence({ cpu, memory, gpus }: Machine): string {
  const gpu = gpus.length === 0 ? 'no GPU' : gpus.map(({ name }) => name).join(', ');
  return `${cpu.cores} cores, ${formatBytes(memory.bytes)} of memory at ${formatBytes(memory.bytesPerSecond)}/s, ${gpu}`;
}

function choiceSentence({ subject, weightBytes }: ModelPlan, way: Way, free: boolean): string {
  const why = free ? 'the best of those that fit and whose files are known' : 'as named';
  return `${subject.title}, ${subject.format}, ${formatBytes(weightBytes)}: ${why}; about ${digits(way.decode.tokensPerSecond)} tokens/s, limited by ${way.decode.bound}`;
}

/** The command that opens an address in a browser: the one that is asked for, else the system's where there is a screen. */
function opener({ env, terminal }: Surroundings): readonly [string, ...string[]] | undefined {
  if (env.BROWSER) return [env.BROWSER];
  if (!terminal.errIsTerminal) return undefined;
  if (process.platform === 'darwin') return ['open'];
  if (process.platform === 'win32') return ['cmd', '/c', 'start', ''];
  return env.DISPLAY || env.WAYLAND_DISPLAY ? ['xdg-open'] : undefined;
}

async function openPage(url: string, surroundings: Surroundings, signal: AbortSignal): Promise<void> {
  const found = opener(surroundings);
  if (found === undefined) return;
  const [name, ...args] = found;
  while (!signal.aborted) {
    const up = await fetch(url, { signal }).then(
      ({ ok }) => ok,
      () => false,
    );
    if (up) {
      spawn(name, [...args, url], { stdio: 'ignore', detached: true })
        .on('error', () => undefined)
        .unref();
      return;
    }
    await sleep(500, undefined, { signal }).catch(() => undefined);
  }
}
