/**
 * Owns: running a Python program that a model wrote: without a network, with limits of time and memory, and where nothing
 * that it writes outlives it.
 * Refuses to know: what the program is for.
 *
 * On Linux the program runs in namespaces of its own (user, mount, process, network, message queues): its root is a
 * small memory file system that holds /usr, /lib, /bin and Python's own folder, read-only, and an empty /tmp. The old root is
 * gone, every capability is dropped, and setuid programs gain nothing.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { HadalError } from '../error.ts';

/** How a program may run. */
export interface SandboxOptions {
  readonly timeoutMs: number;
  /** Address space of each of its processes; 1 GB when absent. */
  readonly memoryBytes?: number;
  /** `none` runs it as this user with limits alone: it may read, write and connect. */
  readonly isolation?: 'namespaces' | 'none';
  /** Python's command; `python3` when absent. */
  readonly python?: string;
  readonly signal?: AbortSignal;
}

/** How a program ended. */
export interface ProgramEnd {
  readonly passed: boolean;
  /** Its exit code; `timeout`, the signal that ended it, or `ended early` where it left with 0 before its last line. */
  readonly reason: number | string;
  /** The last of what it wrote to standard error. */
  readonly words: string;
}

const MEMORY_BYTES = 1 << 30;
/** The file descriptor that a program's last line writes to. */
const WORD_TO = 3;
const [MOST_WORDS, MOST_FILES, MOST_PROCESSES, MOST_FILE_BYTES] = [2_000, 64, 64, 16 << 20];

/** Builds the root and enters it; $1 is the folder with program.py, $2 Python's own folder, $3 the command, then limits. */
const ENTER = `set -e
work=$1; prefix=$2; python=$3; shift 3
mount --make-rprivate /
mount -t tmpfs -o size=64m,mode=755 none "$work"
cd "$work"
# The program comes on standard input, since the folder that held it is covered now.
mkdir -p usr lib lib64 bin proc dev tmp old
cat > tmp/program.py
# Whatever is mounted below a folder comes along, so each of these is made read-only.
bound() {
  mkdir -p ".$1"
  mount --rbind "$1" ".$1"
  while read -r _ _ _ _ point _; do
    case "$point" in "$work$1"|"$work$1"/*) mount -o remount,bind,ro "$point" ;; esac
  done < /proc/self/mountinfo
}
for folder in /usr /lib /lib64 /bin; do [ -d "$folder" ] && bound "$folder"; done
case "$prefix" in /usr*) ;; *) bound "$prefix" ;; esac
for device in null zero urandom; do : > dev/$device; mount --bind /dev/$device dev/$device; done
mount -t proc none proc
pivot_root . old
cd /tmp
umount -l /old
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all prlimit "$@" "$python" -I /tmp/program.py
`;

/**
 * Runs a program to its end, or to its limits. One that leaves before its last line, with `exit()` in the middle, has not
 * passed, as in the evaluation of HumanEval.
 *
 * @throws HadalError `sandbox-unavailable` where the system allows no namespaces, or Python is missing; the signal's reason
 * @example (await runProgram('assert 1 + 1 == 2', { timeoutMs: 5000 })).passed // true
 */
export async function runProgram(program: string, options: SandboxOptions): Promise<ProgramEnd> {
  const {
    timeoutMs,
    memoryBytes = MEMORY_BYTES,
    isolation = 'namespaces',
    python = 'python3',
    signal,
  } = options;
  signal?.throwIfAborted();
  // What it says behind its last line; nothing that it could know.
  const word = randomBytes(16).toString('hex');
  const whole = `${program}\n\n__import__('os').write(${WORD_TO}, b'${word}')\n`;
  const work = await mkdtemp(join(tmpdir(), 'hadal-program-'));
  const limits = [
    `--as=${memoryBytes}`,
    `--cpu=${Math.ceil(timeoutMs / 1000) + 1}`,
    `--fsize=${MOST_FILE_BYTES}`,
    `--nofile=${MOST_FILES}`,
    `--nproc=${MOST_PROCESSES}`,
    '--core=0',
  ];
  try {
    const { executable, prefix } = await pythonHere(python);
    if (isolation === 'none') {
      await writeFile(join(work, 'program.py'), whole);
      const words = ['prlimit', ...limits, executable, '-I', join(work, 'program.py')];
      return await run(words, '', { word, timeoutMs, cwd: work, ...(signal && { signal }) });
    }
    const inside = ['sh', '-c', ENTER, 'sh', work, prefix, executable, ...limits];
    const options = { word, timeoutMs, cwd: '/', ...(signal && { signal }) };
    return await run([...NAMESPACES, ...inside], whole, options);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

const NAMESPACES = [
  'unshare',
  '--user',
  '--map-root-user',
  '--mount',
  '--net',
  '--ipc',
  '--uts',
  '--pid',
  '--fork',
  '--kill-child',
];

/**
 * Makes sure that programs can be run as asked, by running two.
 *
 * @throws HadalError `sandbox-unavailable`, which says what is missing
 * @example await demandSandbox({ timeoutMs: 10_000 });
 */
export async function demandSandbox(options: SandboxOptions): Promise<void> {
  const good = await runProgram('print(1)', options);
  const bad = await runProgram('raise SystemExit(3)', options);
  if (good.passed && bad.reason === 3) return;
  throw unavailable('namespaces (unshare, mount, pivot_root, setpriv and prlimit of util-linux)', good.words);
}

/** Where Python is, its links followed, and the folder that it is installed in. */
async function pythonHere(python: string): Promise<{ executable: string; prefix: string }> {
  const ask =
    'import os, sys; print(os.path.realpath(sys.executable)); print(os.path.realpath(sys.base_prefix))';
  const end = await output([python, '-I', '-c', ask]);
  const [executable, prefix] = end.split('\n');
  if (executable && prefix) return { executable, prefix };
  throw unavailable('Python 3', `no answer from ${python}`);
}

function output([command, ...words]: readonly string[]): Promise<string> {
  return new Promise((done) => {
    const child = spawn(command!, words, { stdio: ['ignore', 'pipe', 'ignore'] });
    let text = '';
    child.stdout.on('data', (part) => {
      text += part;
    });
    child.once('error', () => done(''));
    child.once('close', () => done(text));
  });
}

function run(
  [command, ...words]: readonly string[],
  input: string,
  {
    word,
    timeoutMs,
    cwd,
    signal,
  }: { readonly word: string; timeoutMs: number; cwd: string; signal?: AbortSignal },
): Promise<ProgramEnd> {
  return new Promise((done, failed) => {
    const child = spawn(command!, words, {
      cwd,
      stdio: ['pipe', 'ignore', 'pipe', 'pipe'],
      // A group of its own, so that all of it can be ended at once.
      detached: true,
      env: { PATH: '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin', LANG: 'C.UTF-8', PYTHONHASHSEED: '0' },
    });
    let ended = '';
    let errors = '';
    let said = '';
    const kill = (why: string) => {
      ended ||= why;
      try {
        process.kill(-child.pid!, 'SIGKILL');
      } catch {
        // Gone already.
      }
    };
    const timer = setTimeout(() => kill('timeout'), timeoutMs);
    const abort = () => kill('abort');
    signal?.addEventListener('abort', abort, { once: true });
    child.stderr!.on('data', (part) => {
      errors = (errors + part).slice(-MOST_WORDS);
    });
    const saying = child.stdio[WORD_TO] as Readable;
    saying.on('data', (part) => {
      said = (said + part).slice(0, 2 * word.length);
    });
    // It may end before it has read everything.
    child.stdin!.on('error', () => undefined);
    child.stdin!.end(input);
    const over = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    };
    child.once('error', (cause: NodeJS.ErrnoException) => {
      over();
      failed(unavailable(command!, cause.code ?? cause.message));
    });
    child.once('close', (code, by) => {
      over();
      kill('');
      if (signal?.aborted) failed(signal.reason);
      else {
        const left = code === 0 && ended === '';
        const passed = left && said === word;
        const reason = left && !passed ? 'ended early' : ended || (by ?? code ?? 'unknown');
        done({ passed, reason, words: errors });
      }
    });
  });
}

function unavailable(expected: string, got: string): HadalError {
  return new HadalError('sandbox-unavailable', {
    what: 'the sandbox for programs that models write',
    expected,
    got: got.trim().split('\n').at(-1) || 'nothing',
    next: 'run it where user namespaces are allowed, or accept programs that may read, write and connect: --unsafe-code',
  });
}
