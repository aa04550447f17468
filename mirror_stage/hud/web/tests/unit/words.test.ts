import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { asScript, wordsOf } from '../../src/store/words';

interface Case {
  command: string;
  isReadable?: false;
  operator?: string | null;
  asWritten?: string[];
  lookalikes?: string[];
}
const CASES = JSON.parse(readFileSync(new URL('../../../../../tests/fixtures/command-words.json', import.meta.url), 'utf8')) as Case[];

describe('a command without a shell is read as the agent reads it', () => {
  test.each(CASES)('$command', ({ command, isReadable = true, operator, asWritten, lookalikes }) => {
    const words = wordsOf(command);
    expect(words !== null).toBe(isReadable);
    if (operator !== undefined) expect(words?.operator).toBe(operator);
    if (asWritten !== undefined) expect(words?.asWritten).toEqual(asWritten);
    if (lookalikes !== undefined) expect(words?.lookalikes).toEqual(lookalikes);
  });
});

test.each(['a | b', "echo 'one' && it's", 'echo "$HOME"\necho `date`', '\\ * ~'])('%j as a script is no operator any more', (script) => {
  expect(wordsOf(asScript(script))).toEqual({ operator: null, asWritten: [], lookalikes: [] });
});
