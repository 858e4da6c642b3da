/**
 * Owns: `hadal run`: one answer, or the chat.
 * Refuses to know: how answers are made, how lines are edited.
 */
import { defineCommand } from 'citty';
import type { Message } from '../chat/delta.ts';
import { isOffline } from '../hub/offline.node.ts';
import type { AnswerOptions } from '../runtime/answerer.ts';
import type { OpenedModel } from '../runtime/open.node.ts';
import {
  ANSWER_FLAGS,
  answerOptionsOf,
  CHAT_FLAGS,
  CONSTRAINT_FLAGS,
  chatOptionsOf,
  constraintOf,
  openingOf,
} from './answer-flags.ts';
import { answerDocument, callLine, figuresLine, showAnswer } from './answer-view.ts';
import { type Arguments, readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { usageError } from './exit-codes.ts';
import { expertsDocument, expertsPicture } from './experts-view.ts';
import { OFFLINE_FLAG, ranSealed } from './offline.ts';
import { openShown } from './opening.ts';
import { admissionOf, POLICY_FLAG } from './policy.ts';
import { promptFrom } from './standard-input.ts';

export const text: CommandText = {
  usage: 'run MODEL [PROMPT] [flags]',
  examples: [
    'hadal run smollm2-135m "What is gravity?"',
    'hadal run ./model.gguf',
    'cat notes.txt | hadal run smollm2-135m "Summarise this:"',
    'hadal run smollm2-135m "Name a colour" --json-schema colour.json',
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
    ...ANSWER_FLAGS,
    ...CONSTRAINT_FLAGS,
    ...CHAT_FLAGS,
    experts: { type: 'boolean', description: 'show how often each expert of the model was chosen' },
    raw: { type: 'boolean', description: 'complete the text as it is, no chat format' },
    ...OFFLINE_FLAG,
    ...POLICY_FLAG,
    quiet: { type: 'boolean', alias: 'q', description: 'no line with figures' },
    json: { type: 'boolean', description: 'print one JSON document when the answer is whole' },
  },
  async run({ rawArgs, cmd, data }) {
    const surroundings = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { repeated: ['stop'] });
    const model = given.word(0, 'MODEL', `hadal ${text.usage}`);
    const offline = given.has('offline') || isOffline(surroundings.env);
    if (offline && (await ranSealed(surroundings, [model]))) return;
    const answerOptions = {
      ...answerOptionsOf(given),
      ...(await chatOptionsOf(given)),
      ...(await constraintOf(given)),
      signal: surroundings.interruption.signal,
    };
    const opening = openingOf(given);
    const system = given.text('system');
    if (given.has('raw') && system !== undefined) {
      throw usageError({ what: '--system', expected: 'a chat', got: '--raw', next: 'leave one of them out' });
    }
    const ofChats = Object.keys(CHAT_FLAGS).find((flag) => given.has(flag));
    if (given.has('raw') && ofChats !== undefined) {
      throw usageError({
        what: `--${ofChats}`,
        expected: 'a chat',
        got: '--raw',
        next: 'leave one of them out',
      });
    }
    const prompt = await promptFrom(given.words.slice(1), surroundings);
    if (prompt === undefined) checkChat(given, surroundings);
    const opened = await openShown(model, surroundings, {
      ...opening,
      ...(await admissionOf(surroundings.env, { given })),
    });
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
  if (!last.endsWith('\n') || (answer.content === '' && answer.calls.length === 0)) terminal.out('\n');
  for (const call of answer.calls) terminal.out(`${callLine(call)}\n`);
  if (!given.has('quiet')) terminal.err(terminal.dim(`# ${figuresLine(answer, answerer.contextTokens)}\n`));
  interruption.signal.throwIfAborted();
}
