/**
 * Owns: the chat in a terminal: the turns, the slash commands, what Ctrl-C means when.
 * Refuses to know: line editing (chat-input.ts), how answers are made.
 */
import type { ReadStream } from 'node:tty';
import { HadalError } from '../error.ts';
import { nearest } from '../hub/nearest.ts';
import type { AnswerOptions } from '../runtime/answerer.ts';
import type { OpenedModel } from '../runtime/open.node.ts';
import { callLine, figuresLine, showAnswer } from './answer-view.ts';
import { ChatInput, type Input } from './chat-input.ts';
import type { Surroundings } from './context.ts';
import { Conversation } from './conversation.ts';
import { formatCount } from './figures.ts';
import { openHistory } from './input-history.ts';
import { describeSampling } from './sampling-flags.ts';

/** What the command line said about a chat. */
export interface ChatOptions {
  readonly model: string;
  readonly system: string | undefined;
  readonly answerOptions: AnswerOptions;
  readonly quiet: boolean;
}

interface Chat {
  readonly opened: OpenedModel;
  readonly surroundings: Surroundings;
  readonly options: ChatOptions;
  readonly conversation: Conversation;
}

/**
 * Talks until the person leaves.
 *
 * @throws HadalError when the model has no chat format; failures of single answers are shown, and the chat goes on.
 */
export async function chat(
  opened: OpenedModel,
  surroundings: Surroundings,
  options: ChatOptions,
): Promise<void> {
  const { terminal, env, interruption } = surroundings;
  const conversation = new Conversation(options.system);
  await opened.answerer.countTokens(conversation.messages);
  greet(opened, surroundings, options);
  const history = openHistory(env);
  const input = new ChatInput({
    stdin: surroundings.stdin as ReadStream,
    stdout: process.stdout,
    history: history.lines,
    onHistory: (lines) => history.save(lines),
  });
  // Between two prompts Ctrl-C is a signal: it counts as one at the next prompt.
  let missed = false;
  const release = interruption.capture(() => {
    missed = true;
  });
  const stop = () => input.close();
  interruption.signal.addEventListener('abort', stop, { once: true });
  try {
    let interrupts = 0;
    while (!interruption.signal.aborted) {
      const said: Input = missed ? { kind: 'interrupt', empty: true } : await input.ask('> ');
      missed = false;
      interruption.signal.throwIfAborted();
      if (said.kind === 'end') {
        terminal.err('\n');
        return;
      }
      if (said.kind === 'interrupt') {
        interrupts = said.empty ? interrupts + 1 : 0;
        if (interrupts === 2) return;
        if (said.empty) terminal.err(terminal.dim('Ctrl-C again, Ctrl-D or /exit leaves\n'));
        continue;
      }
      interrupts = 0;
      const done = await take(said.text, { opened, surroundings, options, conversation });
      if (done) return;
    }
    interruption.signal.throwIfAborted();
  } finally {
    interruption.signal.removeEventListener('abort', stop);
    release();
    input.close();
  }
}

function greet({ answerer }: OpenedModel, { terminal }: Surroundings, options: ChatOptions): void {
  const sampling = { ...answerer.sampling, ...options.answerOptions.sampling };
  const context = formatCount(answerer.contextTokens);
  terminal.err(
    terminal.dim(`${options.model} · context ${context} tokens · ${describeSampling(sampling)} · /help\n`),
  );
}

/** Does what a message asks for; true when the chat is over. */
async function take(said: string, chat: Chat): Promise<boolean> {
  const { terminal } = chat.surroundings;
  if (said.trim() === '') return false;
  try {
    if (/^\/[a-z?]*(\s|$)/i.test(said)) return await command(said, chat);
    await answer(said, chat);
  } catch (error) {
    if (!(error instanceof HadalError)) throw error;
    terminal.err(`hadal: ${error.message}\n`);
  }
  return false;
}

async function answer(question: string, chat: Chat): Promise<void> {
  const { opened, surroundings, options, conversation } = chat;
  const { terminal, interruption } = surroundings;
  const controller = new AbortController();
  const release = interruption.capture(() => controller.abort());
  conversation.say(question);
  let said = '';
  try {
    const deltas = opened.answerer.chat(conversation.messages, {
      ...options.answerOptions,
      signal: AbortSignal.any([controller.signal, interruption.signal]),
    });
    const finished = await showAnswer(deltas, terminal, (piece) => {
      terminal.out(piece);
      said += piece;
    });
    conversation.answer(said, finished.reasoning);
    if (!said.endsWith('\n')) terminal.out('\n');
    for (const call of finished.calls) terminal.out(`${callLine(call)}\n`);
    if (!options.quiet) {
      terminal.err(terminal.dim(`# ${figuresLine(finished, opened.answerer.contextTokens)}\n`));
    }
  } catch (error) {
    conversation.takeLastQuestion();
    if (said !== '') terminal.out('\n');
    if (error instanceof HadalError && error.code === 'prompt-too-long') {
      throw new HadalError('context-full', {
        what: 'the conversation',
        expected: `at most ${formatCount(opened.answerer.contextTokens)} tokens`,
        got: 'more with this message, which was left out',
        next: 'start again with /clear, or keep it with /save FILE first',
      });
    }
    throw error;
  } finally {
    release();
  }
}

interface SlashCommand {
  readonly name: string;
  readonly argument: string;
  readonly summary: string;
  /** True ends the chat. */
  run(argument: string, chat: Chat): Promise<boolean> | boolean;
}

const COMMANDS: readonly SlashCommand[] = [
  {
    name: 'help',
    argument: '',
    summary: 'lists these',
    run: (_, { surroundings }) => tell(surroundings, help()),
  },
  {
    name: 'clear',
    argument: '',
    summary: 'forgets the conversation, keeps the system message',
    run(_, { conversation, surroundings }) {
      conversation.restart(conversation.system);
      return tell(surroundings, 'forgotten');
    },
  },
  {
    name: 'system',
    argument: '[TEXT]',
    summary: 'shows or changes the system message; a change forgets the conversation',
    run(argument, { conversation, surroundings, opened }) {
      if (argument === '') return tell(surroundings, systemInForce(conversation, opened));
      conversation.restart(argument);
      return tell(surroundings, 'changed, and the conversation forgotten');
    },
  },
  {
    name: 'save',
    argument: 'FILE',
    summary: 'writes the conversation as JSON messages',
    async run(argument, { conversation, surroundings }) {
      await conversation.save(named(argument, 'save'));
      return tell(surroundings, `saved ${conversation.messages.length} messages`);
    },
  },
  {
    name: 'load',
    argument: 'FILE',
    summary: 'continues a saved conversation',
    async run(argument, { conversation, surroundings }) {
      await conversation.load(named(argument, 'load'));
      return tell(surroundings, `loaded ${conversation.messages.length} messages`);
    },
  },
  {
    name: 'retry',
    argument: '',
    summary: 'answers the last message again',
    async run(_, chat) {
      const question = chat.conversation.takeLastQuestion();
      if (question === undefined) return tell(chat.surroundings, 'nothing was asked yet');
      await answer(question, chat);
      return false;
    },
  },
  { name: 'exit', argument: '', summary: 'leaves, as Ctrl-D does', run: () => true },
];

async function command(said: string, chat: Chat): Promise<boolean> {
  const [word = '', ...rest] = said.trim().slice(1).split(/\s+/);
  const wanted = ALIASES[word.toLowerCase()] ?? word.toLowerCase();
  const found = COMMANDS.find(({ name }) => name === wanted);
  if (found !== undefined) {
    const argument =
      rest.length === 0
        ? ''
        : said
            .trim()
            .slice(1 + word.length)
            .trim();
    return found.run(argument, chat);
  }
  const guess = nearest(
    word,
    COMMANDS.map(({ name }) => name),
  );
  return tell(
    chat.surroundings,
    `/${word} is not a command; ${guess === undefined ? 'see /help' : `did you mean /${guess}?`}`,
  );
}

/** The system message in words: the one that was set, or the model's own. */
function systemInForce({ system }: Conversation, { defaultSystem }: OpenedModel): string {
  if (system !== undefined) return system === '' ? '(empty)' : system;
  return defaultSystem === undefined ? '(none)' : `${defaultSystem} (the model's own)`;
}

const ALIASES: Readonly<Record<string, string>> = { '?': 'help', bye: 'exit', quit: 'exit', q: 'exit' };

function named(argument: string, name: string): string {
  if (argument !== '') return argument;
  throw new HadalError('usage', {
    what: `/${name}`,
    expected: 'the name of a file after it',
    got: 'nothing',
  });
}

function help(): string {
  const rows = COMMANDS.map(
    ({ name, argument, summary }) => `${`/${name} ${argument}`.padEnd(16)} ${summary}`,
  );
  return [
    ...rows,
    'Several lines: end a line with \\, or put """ before and after; Ctrl-C stops an answer.',
  ].join('\n');
}

function tell({ terminal }: Surroundings, sentence: string): false {
  terminal.err(`${terminal.dim(sentence)}\n`);
  return false;
}
