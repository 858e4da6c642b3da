/**
 * Owns: the tarballs that are published: `hadal`, and the addon of this platform as a package of its own.
 * Refuses to know: how the addon is built, where tarballs are published.
 *
 * `node scripts/pack.mjs [FOLDER]` writes both and prints their paths as JSON. The platform package is written into
 * `optionalDependencies` only here: a checkout builds its addon, and its lock file knows no such package.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { build } from './build.mjs';
import { npm, ROOT } from './install.mjs';

const STAGE = join(ROOT, 'test/output/pack');
const ADDON = join(ROOT, 'dist/native/hadal.node');
const DOCUMENTS = ['README.md', 'LICENSE', 'CHANGELOG.md'];

/** A platform package is named as npm's own fields name the platform. */
const { platform, arch } = process;
const LIBC =
  platform === 'linux'
    ? process.report.getReport().header.glibcVersionRuntime
      ? 'glibc'
      : 'musl'
    : undefined;
const PLATFORM = [platform, arch, ...(LIBC === undefined ? [] : [LIBC === 'glibc' ? 'gnu' : 'musl'])].join(
  '-',
);

try {
  const target = resolve(process.argv[2] ?? 'test/output');
  const { built } = await build();
  const source = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  rmSync(STAGE, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  const native = built ? stageNative(source) : undefined;
  const hadal = stageHadal(source, native?.name);
  const tarballs = { hadal: pack(hadal, target), ...(native && { native: pack(native.folder, target) }) };
  process.stdout.write(`${JSON.stringify(tarballs)}\n`);
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}

function stageHadal(source, nativeName) {
  const folder = join(STAGE, 'hadal');
  const { scripts: _scripts, devDependencies: _devDependencies, ...published } = source;
  if (nativeName !== undefined) published.optionalDependencies = { [nativeName]: source.version };
  cpSync(join(ROOT, 'dist'), join(folder, 'dist'), { recursive: true });
  return stage(folder, published);
}

function stageNative({ version, license, engines }) {
  const name = `@hadal/native-${PLATFORM}`;
  const folder = join(STAGE, 'native');
  mkdirSync(folder, { recursive: true });
  cpSync(ADDON, join(folder, 'hadal.node'));
  stage(folder, {
    name,
    version,
    description: `The arithmetic of hadal for ${PLATFORM}.`,
    license,
    engines,
    os: [platform],
    cpu: [arch],
    ...(LIBC === undefined ? {} : { libc: [LIBC] }),
    main: 'hadal.node',
    files: ['hadal.node'],
  });
  return { name, folder };
}

function stage(folder, packageJson) {
  for (const name of DOCUMENTS)
    if (existsSync(join(ROOT, name))) cpSync(join(ROOT, name), join(folder, name));
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(packageJson, undefined, 2)}\n`);
  return folder;
}

function pack(folder, target) {
  const { status, stdout, stderr } = npm(
    ['pack', '--json', '--loglevel=error', '--pack-destination', target],
    {
      cwd: folder,
    },
  );
  if (status !== 0) throw new Error(`npm pack failed in ${folder}\n${stderr}`);
  const [{ filename }] = Object.values(JSON.parse(stdout));
  return join(target, filename);
}
