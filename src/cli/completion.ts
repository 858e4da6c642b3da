/**
 * Owns: `hadal completion`: scripts that let a shell complete commands, flags and model names.
 * Refuses to know: what the commands do.
 */
import type { ArgsDef } from 'citty';
import { defineCommand } from 'citty';
import { readCatalogue } from '../hub/catalogue.ts';
import { readArguments } from './arguments.ts';
import { CLIENTS } from './clients/clients.ts';
import { COMMANDS } from './commands.ts';
import type { CommandText, Surroundings } from './context.ts';
import { usageError } from './exit-codes.ts';

export const text: CommandText = {
  usage: 'completion bash|zsh|fish',
  examples: [
    'hadal completion bash > ~/.local/share/bash-completion/completions/hadal',
    'hadal completion zsh > ~/.zfunc/_hadal',
    'hadal completion fish > ~/.config/fish/completions/hadal.fish',
  ],
};

export const command = defineCommand({
  meta: { name: 'completion', description: 'print the completion script for bash, zsh or fish' },
  args: {
    shell: { type: 'positional', required: false, description: 'bash, zsh or fish' },
    json: { type: 'boolean', description: 'print the script in one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const { terminal } = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { words: 1 });
    const shell = given.word(0, 'SHELL', `hadal ${text.usage}`);
    const write = SHELLS[shell];
    if (write === undefined) {
      throw usageError({ what: 'SHELL', expected: 'bash, zsh or fish', got: JSON.stringify(shell) });
    }
    const script = write(await vocabulary());
    if (given.has('json')) terminal.json({ shell, script });
    else terminal.out(script);
  },
});

interface Word {
  readonly name: string;
  readonly summary: string;
}

interface CommandWords extends Word {
  readonly flags: readonly (Word & { readonly takesValue: boolean })[];
  /** What the first word after the command is. */
  readonly first: 'model' | 'file' | 'shell' | 'client' | 'none';
}

/** First words that a shell can complete. */
const FIRSTS = ['model', 'file', 'shell', 'client'] as const;
const CLIENT_NAMES = CLIENTS.map(({ name }) => name).join(' ');

interface Vocabulary {
  readonly commands: readonly CommandWords[];
  readonly models: readonly string[];
}

async function vocabulary(): Promise<Vocabulary> {
  const commands = await Promise.all(
    COMMANDS.map(async ({ name, summary, load }): Promise<CommandWords> => {
      const definitions = Object.entries((await load()).command.args as ArgsDef);
      const [first] = definitions.filter(([, { type }]) => type === 'positional').map(([word]) => word);
      return {
        name,
        summary,
        first: FIRSTS.find((one) => one === first) ?? 'none',
        flags: [
          ...definitions
            .filter(([, { type }]) => type !== 'positional')
            .map(([flag, { type, description }]) => ({
              name: `--${flag}`,
              summary: description ?? '',
              takesValue: type !== 'boolean',
            })),
          { name: '--help', summary: 'show the help', takesValue: false },
        ],
      };
    }),
  );
  return { commands, models: readCatalogue().map(({ name }) => name) };
}

const SHELLS: Readonly<Record<string, (words: Vocabulary) => string>> = { bash, zsh, fish };

function bash({ commands, models }: Vocabulary): string {
  const flags = commands.map(
    ({ name, flags }) => `    ${name}) flags="${flags.map((flag) => flag.name).join(' ')}" ;;`,
  );
  const firsts = commands.flatMap(({ name, first }) =>
    first === 'shell' || first === 'client'
      ? [`    ${name}) words="${first === 'shell' ? 'bash zsh fish' : CLIENT_NAMES}" ;;`]
      : [],
  );
  const withModel = commands
    .filter(({ first }) => first === 'model' || first === 'file')
    .map(({ name }) => name);
  return `# bash completion of hadal
_hadal() {
  local word="\${COMP_WORDS[COMP_CWORD]}" command="\${COMP_WORDS[1]}" flags="" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${commands.map(({ name }) => name).join(' ')}" -- "$word"))
    return
  fi
  case "$command" in
${flags.join('\n')}
  esac
  if [[ "$word" == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$word"))
    return
  fi
  case "$command" in
    ${withModel.join('|')}) words="${models.join(' ')}" ;;
${firsts.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word") $(compgen -f -- "$word"))
}
complete -o filenames -F _hadal hadal
`;
}

function zsh({ commands, models }: Vocabulary): string {
  const quote = (text: string) => text.replace(/'/g, `'\\''`).replace(/[[\]:]/g, '\\$&');
  const cases = commands.map(({ name, flags, first }) => {
    const options = flags.map(
      (flag) => `        '${flag.name}[${quote(flag.summary)}]${flag.takesValue ? ':value:' : ''}'`,
    );
    const word = {
      model: [`        '1:model:_hadal_models'`],
      file: [`        '1:model:_hadal_models'`],
      shell: [`        '1:shell:(bash zsh fish)'`],
      client: [`        '1:client:(${CLIENT_NAMES})'`],
      none: [],
    }[first];
    return `      ${name}) _arguments \\\n${[...options, ...word].join(' \\\n')} ;;`;
  });
  return `#compdef hadal
_hadal_models() { _alternative 'names:name:(${models.join(' ')})' 'files:file:_files' }
_hadal() {
  local -a commands
  commands=(
${commands.map(({ name, summary }) => `    '${name}:${quote(summary)}'`).join('\n')}
  )
  _arguments -C '1:command:->command' '*::argument:->argument'
  case $state in
    command) _describe command commands ;;
    argument)
      case $words[1] in
${cases.join('\n')}
      esac ;;
  esac
}
_hadal "$@"
`;
}

function fish({ commands, models }: Vocabulary): string {
  const quote = (text: string) => `'${text.replace(/[\\']/g, '\\$&')}'`;
  const lines = ['# fish completion of hadal', 'complete -c hadal -f'];
  for (const { name, summary, flags, first } of commands) {
    lines.push(`complete -c hadal -n __fish_use_subcommand -a ${name} -d ${quote(summary)}`);
    const when = `-n '__fish_seen_subcommand_from ${name}'`;
    if (first === 'model' || first === 'file') {
      lines.push(`complete -c hadal ${when} -F -a ${quote(models.join(' '))}`);
    }
    if (first === 'shell') lines.push(`complete -c hadal ${when} -a 'bash zsh fish'`);
    if (first === 'client') lines.push(`complete -c hadal ${when} -a ${quote(CLIENT_NAMES)}`);
    for (const flag of flags) {
      const value = flag.takesValue ? ' -x' : '';
      lines.push(`complete -c hadal ${when} -l ${flag.name.slice(2)}${value} -d ${quote(flag.summary)}`);
    }
  }
  return `${lines.join('\n')}\n`;
}
