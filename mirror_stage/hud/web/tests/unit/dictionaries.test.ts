import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { en as lateEnglish, ko as lateKorean } from '../../src/i18n/access';
import { en as rulesEnglish, ko as rulesKorean } from '../../src/i18n/alertrules';
import { en as enrolmentEnglish, ko as enrolmentKorean } from '../../src/i18n/enrolment';
import { en as quietEnglish, ko as quietKorean } from '../../src/i18n/quiet';
import { en as planEnglish, ko as planKorean } from '../../src/i18n/plan';
import { en } from '../../src/i18n/en';
import { ko } from '../../src/i18n/ko';

type Tree = { [name: string]: string | ((...values: string[]) => string) | Tree };

function messages(tree: Tree, path = ''): [string, string | ((...values: string[]) => string)][] {
  return Object.entries(tree).flatMap(([name, value]) =>
    typeof value === 'object' ? messages(value, `${path}${name}.`) : [[path + name, value] as [string, typeof value]],
  );
}

const english = new Map(messages({ ...en, late: lateEnglish, enrolment: enrolmentEnglish, rules: rulesEnglish, plan: planEnglish, quiet: quietEnglish } as unknown as Tree));
const korean = new Map(messages({ ...ko, late: lateKorean, enrolment: enrolmentKorean, rules: rulesKorean, plan: planKorean, quiet: quietKorean } as unknown as Tree));

test('both languages have the same messages', () => {
  expect([...korean.keys()].sort()).toEqual([...english.keys()].sort());
});

test('no message is empty', () => {
  for (const [path, message] of [...english, ...korean]) if (typeof message === 'string') expect(message.trim(), path).not.toBe('');
});

test('a message with values says them in both languages', () => {
  for (const [path, message] of english) {
    if (typeof message !== 'function') continue;
    const values = Array.from({ length: message.length }, (_, place) => `value${place}`);
    const said = [message(...values), (korean.get(path) as typeof message)(...values)];
    // `count` of hosts chooses a word in English; the text of the number is said in both.
    for (const value of path === 'hosts' ? values.slice(1) : values) for (const text of said) expect(text, path).toContain(value);
  }
});

const said = (message: string | ((...values: string[]) => string)): string => (typeof message === 'string' ? message : message('⟨1⟩', '⟨2⟩', '⟨3⟩', '⟨4⟩'));

/** Names that are the same in both. */
const SAME = /^(name|dispatch\.stoppedBy|menu\.checks\.redis|metrics\.cpuLoad|roles\.ego|host\.(bios|extent))$/;

test('what has words in English has Korean words in Korean', () => {
  for (const [path, message] of korean) {
    const hasWords = /[a-z]{2}/i.test(said(english.get(path) as typeof message));
    if (hasWords && !SAME.test(path)) expect(said(message), path).toMatch(/[가-힣]/);
  }
});

const CONTRIBUTING = readFileSync(new URL('../../../../../CONTRIBUTING.md', import.meta.url), 'utf8');

test('no message has a word that the table in CONTRIBUTING.md forbids', () => {
  const rows = CONTRIBUTING.split('| English | Korean | never |')[1]?.split('\n\n')[0] ?? '';
  const never = [...rows.matchAll(/`([^`]+)`/g)].map((found) => found[1] as string);
  expect(never).toContain('띠');
  const forbidden = new RegExp(never.map((word) => (/[a-z]/.test(word) ? `\\b${word}s?\\b` : word)).join('|'), 'i');
  for (const [path, message] of [...english, ...korean]) expect(said(message), path).not.toMatch(forbidden);
});

test('a percent sign follows its number without a space', () => {
  for (const [path, message] of [...english, ...korean]) expect(said(message), path).not.toMatch(/\s%/);
});

test('no particle follows an inserted value: the right one depends on its last letter', () => {
  for (const [path, message] of korean) expect(said(message), path).not.toMatch(/⟩\s?(은|는|이|가|을|를|과|와|으로|로|이라|라|이나|나)(?![가-힣])/);
});
