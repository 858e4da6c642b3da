/** A server whose disk is full: what needs the disk is lost and said, and everything else goes on. */
import { mkdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { inOwnMounts, MAIN, scratchFolder } from '../fixtures/command.ts';
import { describeWith } from '../fixtures/needs.ts';
import { toyLlama } from '../fixtures/toy-model.ts';

/**
 * $0 is the home, $1 node, $2 the program, $3 the model, $4 a folder elsewhere. The home, with keys and the cache on disk, is
 * a file system of its own in memory, which is full once the server runs.
 */
const SCRIPT = `
mount -t tmpfs -o size=2m none "$0" || exit 9
hadal() { "$NODE" "$MAIN" "$@"; }
NODE="$1" MAIN="$2"
key=$(hadal keys add ada 2>/dev/null)
echo '{"disk_cache_bytes": 100000000, "cache_tokens": 512}' > "$0/serve.json"
"$1" "$2" serve "$3" --port 0 --config "$0/serve.json" > "$4/said" 2> "$4/log" &
server=$!
until grep -q 'the page' "$4/said"; do sleep 0.1; done
url=$(grep -o 'http:[^ ]*/v1' "$4/said")
ask() {
  curl -sS "$url/completions" -H "authorization: Bearer $key" -H 'content-type: application/json' \\
    -d "{\\"model\\": \\"toy\\", \\"prompt\\": \\"$1\\", \\"max_tokens\\": 2, \\"temperature\\": 0}" | grep -o '"completion_tokens":[0-9]*'
}
long() { head -c 400 /dev/zero | tr '\\0' "$1"; }
cat /dev/zero > "$0/other" 2>/dev/null
echo "room $(df --output=avail "$0" | tail -1)"
# Each drives the pages of the one before out of memory, and none can be kept.
for letter in a b c d e; do ask "$(long $letter)"; done
hadal keys add ben > /dev/null; echo "keys $?"
ask short
rm "$0/other"
hadal keys list | grep -c ada
ask again
kill -TERM $server; wait $server; echo "served $?"
find "$0" -name '*.part'
grep -o 'the cache on disk takes no more pages: ENOSPC' "$4/log"
`;

describeWith(['mounts'], 'a server on a full disk', () => {
  test('answers, keeps its keys, and says what it cannot keep', async () => {
    await using folder = await scratchFolder();
    const home = join(folder.path, 'home');
    mkdirSync(home);
    const toy = join(folder.path, 'toy.gguf');
    await writeFile(toy, toyLlama({ contextTokens: 512 }));
    const { lines, err } = await inOwnMounts(SCRIPT, [home, process.execPath, MAIN, toy, folder.path], {
      HADAL_HOME: home,
      HADAL_BACKEND: 'reference',
      HADAL_LEASE: `hadal-full-${process.pid}`,
    });
    const answered = '"completion_tokens":2';
    expect(err).toContain('expected a place to write the keys, got ENOSPC');
    expect(lines).toEqual([
      'room 0',
      ...Array(5).fill(answered),
      'keys 1',
      answered,
      '1',
      answered,
      'served 0',
      'the cache on disk takes no more pages: ENOSPC',
      '',
    ]);
  });
});
