/**
 * Owns: `hadal run`: one answer, or the chat.
 * Refuses to know: how answers are made, how lines are edited.
 */
import { defineCommand } from 'citty';
import type { Message } from '../chat/delta.ts';
import type { AnswerOptions } from '../runtime/answerer.ts';
import type { OpenedModel } from '../runtime/open.node.ts';
import { answerDocument, figuresLine, showAnswer } from './answer-view.ts';
import { type Arguments, readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { usageError } from './exit-codes.ts';
import { expertsDocument, expertsPicture } from './experts-view.ts';
import { type OpeningOptions, openShown } from './opening.ts';
import { SAMPLING_FLAGS, samplingOf } from './sampling-flags.ts';
import { promptFrom } from './standard-input.ts';

export const text: CommandText = {
  usage: 'run MODEL [PROMPT] [flags]',
  examples: [
    'hadal run smollm2-135m "What is gravity?"',
    'hadal run ./model.gguf',
    'cat notes.txt | hadal run smollm2-135m "Summarise this:"',
    'hadal run smollm2-135m --raw "Once upon a time" -n 64 --seed 7',
  ],
};

export const command = defineCommand({
  meta: { name: 'run', description: 'answer a prompt, or open a chat' },
  args: {
    model: {
      type: 'positional',
      required: false,
      description: 'a GGUF file, a folder, or a name of the catalogue',
    },
    prompt: {
      type: 'positional',
      required: false,
      description: 'what to answer; without it standard input, or a chat in a terminal',
    },
    system: {
      type: 'string',
      alias: 's',
      valueHint: 'TEXT',
      description: "system message; the model's own otherwise",
    },
    'max-tokens': { type: 'string', alias: 'n', valueHint: 'N', description: 'longest answer in tokens' },
    ...SAMPLING_FLAGS,
    stop: {
      type: 'string',
      valueHint: 'TEXT',
      description: 'end the answer before this text; may be repeated',
    },
    context: {
      type: 'string',
      alias: 'c',
      valueHint: 'N',
      description: 'tokens of context; what fits otherwise',
    },
    threads: { type: 'string', valueHint: 'N', description: 'threads; all that may be used otherwise' },
    experts: { type: 'boolean', description: 'show how often each expert of the model was chosen' },
    raw: { type: 'boolean', description: 'complete the text as it is, no chat format' },
    quiet: { type: 'boolean', alias: 'q', description: 'no line with figures' },
    json: { type: 'boolean', description: 'print one JSON document when the answer is whole' },
  },
  async run({ rawArgs, cmd, data }) {
    const surroundings = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { repeated: ['stop'] });
    const model = given.word(0, 'MODEL', `hadal ${text.usage}`);
    const answerOptions = { ...answerOptionsOf(given), signal: surroundings.interruption.signal };
    const opening = openingOf(given);
    const system = given.text('system');
    if (given.has('raw') && system !== undefined) {
      throw usageError({ what: '--system', expected: 'a chat', got: '--raw', next: 'leave one of them out' });
    }
    const prompt = await promptFrom(given.words.slice(1), surroundings);
    if (prompt === undefined) checkChat(given, surroundings);
    const opened = await openShown(model, surroundings, opening);
    try {
      if (given.has('experts')) demandExperts(opened);
      if (prompt === undefined) {
        const { chat } = await import('./chat.ts');
        await chat(opened, surroundings, { model, system, answerOptions, quiet: given.has('quiet') });
      } else {
        await answerOnce(opened, surroundings, given, { model, prompt, system, answerOptions });
      }
      if (given.has('experts') && !given.has('json')) await showExperts(opened, surroundings);
    } finally {
      await opened.close();
    }
  },
});

/** The answer options of a command line. */
function answerOptionsOf(given: Arguments): AnswerOptions {
  const maxTokens = given.number('max-tokens', { min: 1, whole: true });
  const stop = given.texts('stop');
  if (stop.includes('')) {
    throw usageError({ what: '--stop', expected: 'at least one character', got: 'an empty text' });
  }
  return {
    sampling: samplingOf(given),
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...(stop.length === 0 ? {} : { stop }),
  };
}

function openingOf(given: Arguments): OpeningOptions {
  const contextTokens = given.number('context', { min: 1, whole: true });
  const threads = given.number('threads', { min: 1, max: 1024, whole: true });
  return {
    ...(contextTokens === undefined ? {} : { contextTokens }),
    ...(threads === undefined ? {} : { threads }),
    ...(given.has('experts') ? { countExperts: true } : {}),
  };
}

function demandExperts({ description, path }: OpenedModel): void {
  if (description.config.experts) return;
  throw usageError({
    what: '--experts',
    expected: 'a model with experts',
    got: `${path}, a ${description.architecture} without any`,
    next: 'leave it out',
  });
}

function usedOf({ description }: OpenedModel): number {
  return description.config.experts!.used;
}

async function showExperts(opened: OpenedModel, { terminal }: Surroundings): Promise<void> {
  const { experts = [] } = await opened.engine.stats();
  terminal.err(expertsPicture(experts, usedOf(opened)));
}

function checkChat(given: Arguments, { terminal }: Surroundings): void {
  const refuse = (got: string) =>
    usageError({ what: 'the chat', expected: 'a terminal', got, next: 'write a prompt after the model' });
  if (given.has('json')) throw refuse('--json');
  if (given.has('raw')) throw refuse('--raw');
  if (!terminal.outIsTerminal) throw refuse('output that goes elsewhere');
}

async function answerOnce(
  opened: OpenedModel,
  { terminal, interruption }: Surroundings,
  given: Arguments,
  asked: { model: string; prompt: string; system: string | undefined; answerOptions: AnswerOptions },
): Promise<void> {
  const { prompt, system, answerOptions } = asked;
  const { answerer } = opened;
  const messages: Message[] = [
    ...(system === undefined ? [] : [{ role: 'system', content: system } as const]),
    { role: 'user', content: prompt },
  ];
  const deltas = given.has('raw')
    ? answerer.complete(prompt, answerOptions)
    : answerer.chat(messages, answerOptions);
  if (given.has('json')) {
    const answer = await showAnswer(deltas, terminal);
    interruption.signal.throwIfAborted();
    const sampling = { ...answerer.sampling, ...answerOptions.sampling };
    const document = answerDocument(asked.model, answer, answerer.contextTokens, sampling);
    const { experts } = given.has('experts') ? await opened.engine.stats() : {};
    terminal.json(experts ? { ...document, experts: expertsDocument(experts, usedOf(opened)) } : document);
    return;
  }
  let last = '\n';
  const answer = await showAnswer(deltas, terminal, (piece) => {
    terminal.out(piece);
    last = piece;
  });
  if (!last.endsWith('\n') || answer.content === '') terminal.out('\n');
  if (!given.has('quiet')) terminal.err(terminal.dim(`# ${figuresLine(answer, answerer.contextTokens)}\n`));
  interruption.signal.throwIfAborted();
}
