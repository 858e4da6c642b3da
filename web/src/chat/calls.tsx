/**
 * Owns: calls of tools in an answer, and giving their results back.
 * Refuses to know: what the tools are.
 */
import { CodeBlock } from '../markdown/code.tsx';
import type { Call, Turn } from '../state/conversation.ts';
import { answering, giveResults, path } from '../state/store.ts';

/** The calls; the last answer of the path may be given results. */
export function CallsView({ turn, calls }: { readonly turn: Turn; readonly calls: readonly Call[] }) {
  if (calls.length === 0) return null;
  const waits = turn.end === 'calls' && path.value.at(-1)?.id === turn.id && answering.value === undefined;
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    void giveResults(
      turn,
      calls.map((_, i) => String(form.get(`result-${i}`) ?? '')),
    );
  };
  return (
    <form class="calls" onSubmit={submit}>
      {calls.map(({ id, name, arguments: args }, i) => (
        <section key={id} class="call" aria-label={`Call of ${name}`}>
          <p class="label">
            Calls <strong>{name}</strong>
          </p>
          <CodeBlock code={pretty(args)} language="json" />
          {waits && (
            <label>
              Its result
              <textarea name={`result-${i}`} rows={2} required />
            </label>
          )}
        </section>
      ))}
      {waits && (
        <button type="submit" class="strong">
          Give {calls.length === 1 ? 'the result' : 'the results'} back
        </button>
      )}
    </form>
  );
}

/** While it is written it is no JSON yet. */
function pretty(args: string): string {
  try {
    return JSON.stringify(JSON.parse(args), undefined, 2);
  } catch {
    return args;
  }
}
