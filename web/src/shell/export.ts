/**
 * Owns: a conversation as a file.
 * Refuses to know: where conversations are kept.
 */
import { type Conversation, shownPath } from '../state/conversation.ts';

const NAMES = { user: 'You', assistant: 'Answer', tool: 'Result' } as const;

/** The shown path as Markdown. */
export function exported(conversation: Conversation): string {
  const turns = shownPath(conversation).map(({ role, content, reasoning, calls = [], model, files = [] }) => {
    const thought = reasoning ? `<details><summary>Thinking</summary>\n\n${reasoning}\n\n</details>\n\n` : '';
    const called = calls.map(
      ({ name, arguments: args }) => `\n\nCalls ${name}:\n\n\`\`\`json\n${args}\n\`\`\``,
    );
    const attached = files.map(({ name }) => `\n\n(with ${name})`);
    return `## ${NAMES[role]}${model ? ` (${model})` : ''}\n\n${thought}${content}${called.join('')}${attached.join('')}\n`;
  });
  return [`# ${conversation.title}\n`, ...turns].join('\n');
}

/** Hands a text to whoever sits there, as a file. */
export function saveFile(name: string, text: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/plain' }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
