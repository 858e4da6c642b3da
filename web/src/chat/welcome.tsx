/**
 * Owns: what an empty conversation shows.
 * Refuses to know: models, settings.
 */
import { model, modelName } from '../state/store.ts';

/** A greeting. */
export function Welcome() {
  const context = model.value?.hadal.context_tokens;
  return (
    <section class="welcome">
      <img src="/icon.svg" alt="" width="64" height="64" />
      <h1>What shall we look into?</h1>
      <p>
        {modelName.value !== '' && <strong>{modelName.value}</strong>}
        {context !== undefined && ` with ${context.toLocaleString('en')} tokens of context`}
        {modelName.value !== '' && '. '}
        What is said here goes to the machine that shows this page, and nowhere else.
      </p>
    </section>
  );
}
