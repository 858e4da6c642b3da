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
        {modelName.value === '' ? 'No model is here yet' : <strong>{modelName.value}</strong>}
        {context === undefined ? '' : `, ${context.toLocaleString('en')} tokens of context`}. It runs on this
        machine; nothing that is said here leaves it.
      </p>
    </section>
  );
}
