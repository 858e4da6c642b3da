/**
 * Owns: the bill of materials of a model (CycloneDX 1.6, ML-BOM): files with digests, templates, adapters, quantization lineage.
 * Refuses to know: how any of it was found.
 *
 * CycloneDX has no place of its own for a chat template: it is a `data` component of type `configuration`, with its text's
 * digest. What a file says of its origin (`general.base_model.*`, `adapter.*`, quantization keys) is taken as said.
 * Source: CycloneDX 1.6 JSON schema.
 */
import type { MetaValue } from '../formats/tensor-info.ts';
import type { AuditReport } from './audit.node.ts';

/** What a bill needs beside the report. */
export interface BomOptions {
  /** Of Hadal. */
  readonly version: string;
  /** ISO 8601. */
  readonly timestamp: string;
}

type Json = Readonly<Record<string, unknown>>;

/**
 * The bill of materials of what was audited.
 *
 * @example JSON.stringify(billOfMaterials(report, { version: '0.1.0', timestamp: new Date().toISOString() }))
 */
export function billOfMaterials(report: AuditReport, { version, timestamp }: BomOptions): object {
  const { model, metadata } = report;
  const name = text(metadata, 'general.name') ?? report.path.split(/[/\\]/).filter(Boolean).at(-1) ?? 'model';
  const files = report.files.map((file) => ({
    type: 'file',
    'bom-ref': `file:${file.name}`,
    name: file.name,
    ...hashes(file.sha256),
    properties: properties({ 'hadal:bytes': file.bytes, 'hadal:kind': file.kind }),
  }));
  const places = report.templates.map(({ where }) => where);
  const templates = report.templates.map(({ where, sha256, known }, index) => ({
    type: 'data',
    // Two templates of one list may have one name.
    'bom-ref': `template:${where}${places.indexOf(where) === index ? '' : `#${sha256}`}`,
    name: where,
    ...hashes(sha256),
    data: [{ type: 'configuration', name: 'chat template' }],
    properties: properties({ 'hadal:template:known-as': known ?? undefined }),
  }));
  const ancestors = baseModels(metadata);
  const license = text(metadata, 'general.license');
  return {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: {
      timestamp,
      tools: { components: [{ type: 'application', name: 'hadal', version }] },
      component: {
        type: 'machine-learning-model',
        'bom-ref': 'model',
        name,
        ...(text(metadata, 'general.version') === undefined
          ? {}
          : { version: text(metadata, 'general.version') }),
        ...(license === undefined ? {} : { licenses: [{ license: { name: license } }] }),
        ...(ancestors.length === 0 ? {} : { pedigree: { ancestors } }),
        modelCard: {
          modelParameters: {
            task: 'text-generation',
            ...(model?.architecture == null
              ? {}
              : { architectureFamily: 'transformer', modelArchitecture: model.architecture }),
          },
        },
        properties: properties({
          'hadal:verdict': report.verdict,
          'hadal:format': model?.format,
          'hadal:numbers': model?.numbers,
          ...lineage(report),
        }),
      },
    },
    components: [...files, ...templates],
    dependencies: [{ ref: 'model', dependsOn: [...files, ...templates].map((one) => one['bom-ref']) }],
  };
}

/** How the numbers came to be as they are: types with their shares, and the keys that quantizers write. */
function lineage({ model, metadata }: AuditReport): Json {
  const types = Object.entries(model?.types ?? {}).map(([type, bytes]) => [
    `hadal:quantization:bytes:${type}`,
    bytes,
  ]);
  const kept = [...metadata].filter(([key, value]) => LINEAGE.test(key) && typeof value !== 'object');
  return Object.fromEntries([...types, ...kept.map(([key, value]) => [`hadal:says:${key}`, value])]);
}

const LINEAGE =
  /^(general\.(type|file_type|quantization_version|quantized_by|source\.[\w.]+|repo_url)|quantize\.[\w.]+|adapter\.[\w.]+|base_model_name_or_path|revision|peft_type|task_type|r|lora_alpha|quantization_config\.[\w.]+)$/;

function baseModels(metadata: ReadonlyMap<string, MetaValue>): object[] {
  const count = Number(metadata.get('general.base_model.count') ?? 0);
  const named = Array.from({ length: Math.min(count, 16) }, (_, i) => ({
    name: text(metadata, `general.base_model.${i}.name`),
    url: text(metadata, `general.base_model.${i}.repo_url`),
  }));
  const adapted = text(metadata, 'base_model_name_or_path');
  return [...named, { name: adapted, url: undefined }].flatMap(({ name, url }) =>
    name === undefined
      ? []
      : [
          {
            type: 'machine-learning-model',
            name,
            ...(url === undefined ? {} : { properties: properties({ 'hadal:says:repo_url': url }) }),
          },
        ],
  );
}

function hashes(sha256: string | undefined): object {
  return sha256 === undefined ? {} : { hashes: [{ alg: 'SHA-256', content: sha256 }] };
}

function properties(values: Json): { name: string; value: string }[] {
  return Object.entries(values).flatMap(([name, value]) =>
    value === undefined ? [] : [{ name, value: String(value) }],
  );
}

function text(metadata: ReadonlyMap<string, MetaValue>, key: string): string | undefined {
  const value = metadata.get(key);
  return typeof value === 'string' && value !== '' ? value : undefined;
}
