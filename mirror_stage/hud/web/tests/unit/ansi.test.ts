import { describe, expect, test } from 'vitest';
import { contrast, linesOf, LONGEST_LINE, PLAIN, Terminal, textOf } from '../../src/ui/console/ansi';
import { hitsIn, parted } from '../../src/ui/console/find';

const ESC = '\x1b';
const texts = (text: string): string[] => linesOf(text).map(textOf);

describe('what a program prints', () => {
  test.each([
    ['plain lines', 'one\ntwo\n', ['one', 'two']],
    ['a line without an end', 'one\ntwo', ['one', 'two']],
    ['empty lines', '\n\na', ['', '', 'a']],
    ['carriage returns before line feeds', 'one\r\ntwo\r\n', ['one', 'two']],
    ['a progress bar that writes over itself', ' 10 %\r 50 %\r100 %\n', ['100 %']],
    ['a shorter text over a longer one', 'loading\rdone', ['doneing']],
    ['the rest of a line taken away', `loading\r${ESC}[Kdone`, ['done']],
    ['a whole line taken away', `loading${ESC}[2K\rdone`, ['done   ']],
    ['backspaces', 'abc\b\bX', ['aXc']],
    ['tabs', 'a\tb', ['a       b']],
    ['colours', `${ESC}[1;31mred${ESC}[0m plain`, ['red plain']],
    ['a title for the window', `${ESC}]0;title\x07text${ESC}]8;;x${ESC}\\link`, ['textlink']],
    ['movements of the cursor', `a${ESC}[2Ab${ESC}[10;5Hc${ESC}[?25l`, ['abc']],
    ['other escapes', `${ESC}(Ba${ESC}7b${ESC}=`, ['ab']],
    ['bells and other controls', 'a\x07\x00\x0eb\x9b', ['ab']],
    ['letters beyond the first plane', '🐧 한글\n', ['🐧 한글']],
    ['markup', '<img src=x onerror=alert(1)>', ['<img src=x onerror=alert(1)>']],
  ])('%s', (_what, text, expected) => {
    expect(texts(text)).toEqual(expected);
  });

  test('is the same however it is cut into chunks', () => {
    const text = `a${ESC}[38;2;10;200;30mgreen${ESC}[0m\r\n${ESC}]0;t\x07b${ESC}[4mline${ESC}[24m\tend 🐧`;
    const whole = linesOf(text);
    for (let cut = 1; cut < text.length; cut++) {
      if (/[\ud800-\udbff]/.test(text[cut - 1] as string)) continue; // EGO cuts between letters
      expect(new Terminal().feed(text.slice(0, cut)).feed(text.slice(cut)).lines, `cut at ${cut}`).toEqual(whole);
    }
  });

  test('is shown whole, also a line as long as all that EGO keeps', () => {
    const line = 'x'.repeat(LONGEST_LINE);
    expect(texts(`${line}\nnext`)).toEqual([line, 'next']);
  });

  test('is marked where a longer line is cut, with the number of bytes', () => {
    const line = 'x'.repeat(LONGEST_LINE);
    const mark = '[7 bytes are left out here]';
    expect(texts(`${line}abcd한\nnext`)).toEqual([line, mark, 'next']);
    const unfinished = new Terminal().feed(`${line}abcd한`);
    expect([unfinished.lines.map(textOf), unfinished.hasLeftOut]).toEqual([[line, mark], true]);
    expect(hitsIn(unfinished.lines, 'left out')).toBe(1);
  });

  test('never changes a finished line', () => {
    const terminal = new Terminal().feed('one\ntwo');
    const [first] = terminal.lines;
    terminal.feed(' and more\nthree');
    expect(terminal.lines[0]).toBe(first);
  });

  test('an end that never comes hides nothing for ever', () => {
    expect(texts(`${ESC}]0;${'x'.repeat(5_000)}\nafter`).at(-1)).toBe('after');
  });
});

describe('a style', () => {
  const styleOf = (codes: string): object => linesOf(`${ESC}[${codes}mx`)[0]?.[0]?.style ?? {};

  test.each([
    ['0', PLAIN],
    ['', PLAIN],
    ['1', { bold: true }],
    ['1;22', PLAIN],
    ['3;4;9', { italic: true, underline: true, strike: true }],
    ['31;39', PLAIN],
    ['38;5;231', { color: 'rgb(255 255 255)' }],
    ['38;2;255;200;0', { color: 'rgb(255 200 0)' }],
    ['38;2;255;200;0;1', { color: 'rgb(255 200 0)', bold: true }],
    ['99', PLAIN],
  ])('of %s', (codes, expected) => {
    expect(styleOf(codes)).toEqual(expected);
  });

  test('can be read, whatever colours a program chooses', () => {
    const ground: [number, number, number] = [5, 7, 11];
    const parts = (colour: string | undefined, usual: [number, number, number]): [number, number, number] =>
      (colour?.match(/\d+/g)?.map(Number) as [number, number, number] | undefined) ?? usual;
    const choices = ['38;2;0;0;0', '38;5;17', '30', '34', '44', '107', '30;40', '37;47', '7', '7;34', '38;5;16;48;5;16', '97;103'];
    for (const codes of choices) {
      const style = styleOf(codes) as { color?: string; background?: string };
      expect(contrast(parts(style.color, [232, 238, 247]), parts(style.background, ground)), codes).toBeGreaterThanOrEqual(4.5);
    }
  });
});

describe('finding', () => {
  const lines = linesOf(`an Error and an ${ESC}[31mERR${ESC}[0mOR\nnothing\nerror`);

  test('counts in small and capital letters, across colours', () => {
    expect(hitsIn(lines, 'error')).toBe(3);
    expect(hitsIn(lines, '')).toBe(0);
    expect(hitsIn(lines, 'missing')).toBe(0);
  });

  test('marks what was found and leaves the text as it is', () => {
    const parts = parted(lines[0] ?? [], 'error');
    expect(parts.map((part) => part.text).join('')).toBe('an Error and an ERROR');
    expect(parts.filter((part) => part.isHit).map((part) => part.text)).toEqual(['Error', 'ERR', 'OR']);
  });
});
