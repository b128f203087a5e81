// SPDX-License-Identifier: MIT

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createLogger, formatLine, RateLimit, type LogFields } from '#src/log.js';
import { StderrSink, stderrIsJournal } from '#src/stderr-sink.js';
import { assert, suite } from '../helpers/suite.js';
import { FakeTimers } from '../helpers/fake-timers.js';

const test = suite('log');
const LOG_MODULE = fileURLToPath(new URL('../../../dist/log.js', import.meta.url));

const LINES: readonly (readonly [what: string, message: string, fields: LogFields, line: string])[] = [
  ['plain fields', 'started', { port: 5432, ok: true, n: 7n, none: null }, 'started port=5432 ok=true n=7 none=null'],
  ['undefined is left out', 'x', { a: undefined, b: 1 }, 'x b=1'],
  ['spaces are quoted', 'x', { why: 'no answer' }, 'x why="no answer"'],
  ['empty is quoted', 'x', { why: '' }, 'x why=""'],
  ['equals is quoted', 'x', { why: 'a=b' }, 'x why="a=b"'],
  ['quotes are escaped', 'x', { why: 'say "hi"' }, 'x why="say \\"hi\\""'],
  ['single quotes are quoted', 'x', { why: "it's" }, `x why="it's"`],
  ['backslashes are escaped', 'x', { why: 'a\\b' }, 'x why="a\\\\b"'],
  ['newlines in values', 'x', { why: 'a\n<3>forged b=1' }, 'x why="a\\n<3>forged b=1"'],
  ['newlines in messages', 'a\r\n<3>forged', {}, 'a\\r\\n<3>forged'],
  ['terminal escapes', 'x', { why: '\u001b[2J\u0000\u007f\u009b' }, 'x why="\\x1b[2J\\x00\\x7f\\x9b"'],
  ['unicode line ends and reordering marks', 'x', { why: 'a\u2028b\u202ec' }, 'x why="a\\u2028b\\u202ec"'],
  ['other scripts stay', 'x', { why: 'données' }, 'x why=données'],
  ['odd keys', 'x', { 'a b\n': 1 }, 'x a_b_=1'],
];

for (const [what, message, fields, line] of LINES) {
  test(`line: ${what}`, () => {
    assert.is(formatLine(message, fields), line);
  });
}

test('a line is bounded, and a long value does not push out the fields after it', () => {
  const line = formatLine('x', { long: 'y'.repeat(100_000), after: 1 });
  assert.ok(line.length < 10_000, line.length.toString());
  assert.ok(line.endsWith(' after=1'));
  assert.match(line, /97952 more characters/);
  assert.ok(formatLine('m'.repeat(100_000)).length < 10_000);
});

test('the journal form has the syslog priority of each level', () => {
  const lines: string[] = [];
  const logger = createLogger({ level: 'debug', journal: true, write: (line) => lines.push(line) });
  logger.debug('d');
  logger.info('i');
  logger.notice('n');
  logger.warning('w');
  logger.err('e');
  assert.equal(lines, ['<7>d\n', '<6>i\n', '<5>n\n', '<4>w\n', '<3>e\n']);
});

test('the readable form has time and level', () => {
  const lines: string[] = [];
  createLogger({ level: 'info', write: (line) => lines.push(line) }).notice('up', { a: 1 });
  assert.match(lines.join(''), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z NOTICE {2}up a=1\n$/);
});

test('the level is a threshold and can change', () => {
  const lines: string[] = [];
  const logger = createLogger({ level: 'warning', journal: true, write: (line) => lines.push(line) });
  logger.notice('left out');
  logger.warning('in');
  logger.setLevel('notice');
  logger.notice('now in');
  logger.info('left out');
  assert.equal(lines, ['<4>in\n', '<5>now in\n']);
});

test('JOURNAL_STREAM counts only if it names the stderr of this process', () => {
  assert.not.ok(stderrIsJournal({}));
  assert.not.ok(stderrIsJournal({ JOURNAL_STREAM: '' }));
  assert.not.ok(stderrIsJournal({ JOURNAL_STREAM: '1:1' }));
});

test('a process whose stderr is the journal writes priorities', async () => {
  // The journal's socket is told by device and inode; a pipe has these as well.
  const program = `import { createLogger } from ${JSON.stringify(LOG_MODULE)};
    createLogger({ level: 'info' }).warning('w', { a: 1 });`;
  const shell = 'JOURNAL_STREAM=$(stat -L -c %d:%i /dev/fd/2) exec "$@"';
  const args = ['-c', shell, 'sh', process.execPath, '--input-type=module', '-e', program];
  const child = spawn('sh', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let text = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  await once(child, 'close');
  assert.is(text, '<4>w a=1\n');
});

test('rate limit: one line per key and interval, with the number left out', () => {
  let now = 0;
  const limit = new RateLimit(1000, { now: () => now, maxKeys: 2 });
  assert.is(limit.admit('a'), '');
  assert.is(limit.admit('a'), undefined);
  assert.is(limit.admit('b'), '');
  now = 999;
  assert.is(limit.admit('a'), undefined);
  now = 1000;
  assert.is(limit.admit('a'), ' (2 similar suppressed)');
  now = 2000;
  assert.is(limit.admit('a'), '');
  limit.admit('c'); // the third key: b, the longest unused, is forgotten
  assert.is(limit.admit('b'), '');
  assert.is(limit.admit('c'), undefined);
});

/** A descriptor that takes what the test says. */
class FakeFd {
  taken = '';
  /** Bytes it still takes, or the error it answers. */
  room: number | string = Number.MAX_SAFE_INTEGER;

  readonly write = (bytes: Buffer): number => {
    if (typeof this.room === 'string' || this.room === 0) {
      throw Object.assign(new Error('write'), { code: typeof this.room === 'string' ? this.room : 'EAGAIN' });
    }
    const count = Math.min(this.room, bytes.length);
    this.room -= count;
    this.taken += bytes.subarray(0, count).toString();
    return count;
  };
}

function sinkOn(fd: FakeFd, timers: FakeTimers): StderrSink {
  const droppedLine = (count: number): string => `lost ${count.toString()}\n`;
  return new StderrSink({ droppedLine, writeBytes: fd.write, timers, maxPendingBytes: 12 });
}

test('sink: lines wait while nothing is taken, and come whole and in order', () => {
  const fd = new FakeFd();
  const timers = new FakeTimers();
  const sink = sinkOn(fd, timers);
  fd.room = 2;
  sink.write('one\n');
  sink.write('two\n');
  assert.is(fd.taken, 'on');
  fd.room = 3;
  timers.advance(100);
  assert.is(fd.taken, 'one\nt');
  fd.room = 100;
  timers.advance(100);
  assert.is(fd.taken, 'one\ntwo\n');
  assert.is(timers.pending, 0, 'no timer is left when all is written');
});

test('sink: the queue is bounded; the loss is counted and told when writing works again', () => {
  const fd = new FakeFd();
  const timers = new FakeTimers();
  const sink = sinkOn(fd, timers);
  fd.room = 0;
  for (let i = 0; i < 1000; i += 1) sink.write('12345\n');
  fd.room = 1000;
  timers.advance(100);
  assert.is(fd.taken, '12345\n12345\nlost 998\n');
  sink.write('after\n');
  assert.is(fd.taken, '12345\n12345\nlost 998\nafter\n');
});

for (const code of ['EPIPE', 'ENOSPC', 'EBADF']) {
  test(`sink: ${code} loses lines, keeps none, and never throws`, () => {
    const fd = new FakeFd();
    const timers = new FakeTimers();
    const sink = sinkOn(fd, timers);
    fd.room = 2;
    sink.write('abcdef\n');
    fd.room = code;
    sink.write('lost\n');
    assert.is(timers.pending, 0, 'it is not retried');
    fd.room = 1000;
    sink.write('back\n');
    assert.is(fd.taken, 'ab\nlost 2\nback\n', 'the broken line is ended before the next');
    sink.close();
    sink.close();
  });
}

test('a process whose stderr is not read goes on, and tells what was lost', async () => {
  const program = `
    import { createLogger } from ${JSON.stringify(LOG_MODULE)};
    const logger = createLogger({ level: 'info' });
    for (let i = 0; i < 20000; i += 1) logger.info('filler '.repeat(10), { i });
    process.stdout.write('alive\\n');
    process.stdin.once('data', () => { logger.info('last'); process.exit(0); });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'pipe' });
  const watchdog = setTimeout(() => child.kill('SIGKILL'), 20_000);
  let text = '';
  await once(child.stdout, 'data'); // all 20000 calls have returned though nobody read
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    // Once: it leaves when it has been told.
    if (text.includes('were lost') && !child.stdin.writableEnded) child.stdin.end('go\n');
  });
  const code = await new Promise((resolve) => child.once('close', resolve));
  clearTimeout(watchdog);
  assert.is(code, 0);
  const lines = text.split('\n');
  const lost = /lines were lost: stderr did not take them lines=(\d+)/.exec(text);
  const whole = lines.filter((line) => /^\S+Z INFO {4}(?:filler ){10} ?i=\d+$/.test(line)).length;
  assert.is(whole + Number(lost?.[1]), 20_000, 'every line is either whole or counted');
  assert.match(text, /INFO {4}last\n$/);
});

test.run();
