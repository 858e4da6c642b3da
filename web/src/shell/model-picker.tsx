/**
 * Owns: choosing a model, and how far its loading is.
 * Refuses to know: how models are loaded.
 */
import { answering, chooseModel, modelName, models } from '../state/store.ts';

const STATES = { ready: '', loading: ' (loading)', absent: ' (loads when asked)' } as const;

/** The list of models. */
export function ModelPicker() {
  const stage = answering.value?.progress.value.stage ?? '';
  const [, done, total] = /^loading (\d+)\/(\d+)$/.exec(stage) ?? [];
  return (
    <div class="picker">
      <select
        aria-label="Model"
        value={modelName.value}
        disabled={models.value.length === 0}
        onChange={(event) => chooseModel(event.currentTarget.value)}
      >
        {models.value.length === 0 && <option value="">no model</option>}
        {models.value.map(({ id, hadal }) => (
          <option key={id} value={id}>
            {id + STATES[hadal.state]}
          </option>
        ))}
      </select>
      {total !== undefined && (
        <progress aria-label="Loading the model" value={Number(done)} max={Number(total)} />
      )}
    </div>
  );
}
