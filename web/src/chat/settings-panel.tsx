/**
 * Owns: how answers of this conversation are asked for.
 * Refuses to know: what the server does with it.
 */
import { Icon } from '../shell/icons.tsx';
import type { Settings } from '../state/conversation.ts';
import { changeSettings, conversation } from '../state/store.ts';

interface NumberField {
  readonly name: 'temperature' | 'topP' | 'topK' | 'minP' | 'repetitionPenalty' | 'maxTokens' | 'seed';
  readonly label: string;
  readonly min: number;
  readonly max?: number;
  readonly step: number;
}

const NUMBERS: readonly NumberField[] = [
  { name: 'temperature', label: 'Temperature', min: 0, max: 2, step: 0.05 },
  { name: 'topP', label: 'Top p', min: 0, max: 1, step: 0.01 },
  { name: 'topK', label: 'Top k', min: 0, step: 1 },
  { name: 'minP', label: 'Min p', min: 0, max: 1, step: 0.01 },
  { name: 'repetitionPenalty', label: 'Repetition penalty', min: 0.1, max: 2, step: 0.05 },
  { name: 'maxTokens', label: 'Longest answer, tokens', min: 1, step: 1 },
  { name: 'seed', label: 'Seed', min: 0, step: 1 },
];

const THINKING: readonly (readonly [value: NonNullable<Settings['thinking']> | '', label: string])[] = [
  ['', 'as the model likes'],
  ['off', 'off'],
  ['low', 'a little'],
  ['high', 'long'],
  ['max', 'as long as it takes'],
];

/** The panel. */
export function SettingsPanel({ onClose }: { readonly onClose: () => void }) {
  const { settings } = conversation.value;
  return (
    <aside class="panel settings" aria-label="Settings">
      <div class="row">
        <h2>Settings</h2>
        <button type="button" class="quiet icon push" aria-label="Close the settings" onClick={onClose}>
          <Icon name="close" />
        </button>
      </div>
      <label>
        System prompt
        <textarea
          rows={4}
          value={settings.system ?? ''}
          placeholder="None"
          onChange={(event) => changeSettings({ system: event.currentTarget.value })}
        />
      </label>
      <label>
        Thinking
        <select
          value={settings.thinking ?? ''}
          onChange={(event) =>
            changeSettings({ thinking: event.currentTarget.value as Settings['thinking'] })
          }
        >
          {THINKING.map(([value, label]) => (
            <option key={value} value={value}>
              {label}
            </option>
          ))}
        </select>
      </label>
      <fieldset>
        <legend>Sampling</legend>
        {NUMBERS.map(({ name, label, ...bounds }) => (
          <label key={name} class="number">
            {label}
            <input
              type="number"
              {...bounds}
              value={settings[name] ?? ''}
              placeholder="default"
              onChange={({ currentTarget: { value, validity } }) =>
                validity.valid && changeSettings({ [name]: value === '' ? undefined : Number(value) })
              }
            />
          </label>
        ))}
      </fieldset>
      <JsonField
        label="JSON schema that answers obey"
        value={settings.schema ?? ''}
        placeholder={'{ "type": "object", … }'}
        onChange={(schema) => changeSettings({ schema })}
      />
      <JsonField
        label="Tools: a list of functions"
        value={settings.tools ?? ''}
        placeholder={'[{ "name": "weather", "parameters": … }]'}
        onChange={(tools) => changeSettings({ tools })}
      />
      <label class="check">
        <input
          type="checkbox"
          checked={settings.tokens ?? false}
          onChange={(event) => changeSettings({ tokens: event.currentTarget.checked || undefined })}
        />
        Keep how likely each token was
      </label>
      <dl class="keys">
        <dt>Enter</dt>
        <dd>send; with Shift a new line</dd>
        <dt>Esc</dt>
        <dd>stop the answer</dd>
        <dt>/</dt>
        <dd>write a message</dd>
        <dt>Ctrl+K</dt>
        <dd>search conversations</dd>
        <dt>Ctrl+Shift+O</dt>
        <dd>new conversation</dd>
      </dl>
    </aside>
  );
}

/** JSON, with what is wrong with it. */
function JsonField(props: {
  readonly label: string;
  readonly value: string;
  readonly placeholder: string;
  readonly onChange: (text: string) => void;
}) {
  const wrong = mistakeOf(props.value);
  return (
    <label>
      {props.label}
      <textarea
        class="json"
        rows={4}
        spellcheck={false}
        value={props.value}
        placeholder={props.placeholder}
        aria-invalid={wrong !== undefined}
        onChange={(event) => props.onChange(event.currentTarget.value)}
      />
      {wrong !== undefined && <span class="error">{wrong}</span>}
    </label>
  );
}

function mistakeOf(json: string): string | undefined {
  if (json.trim() === '') return undefined;
  try {
    JSON.parse(json);
    return undefined;
  } catch (error) {
    return `This is no JSON: ${(error as Error).message}`;
  }
}
