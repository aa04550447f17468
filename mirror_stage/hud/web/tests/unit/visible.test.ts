import { expect, test } from 'vitest';
import { visible } from '../../src/ui/visible';

test('what is hidden in a command is a visible escape', () => {
  expect(visible('rm -rf /\u2066 # harmless\u2069')).toBe('rm -rf /\\u2066 # harmless\\u2069');
  expect(visible('\x1b[2J\u200b\u3164\u00a0\u{e0041}')).toBe('\\u001b[2J\\u200b\\u3164\\u00a0\\udb40\\udc41');
});

test('lines, tabs and the letters of every language stay', () => {
  const command = 'for one in 가 é 字; do\n\techo "$one"\ndone';
  expect(visible(command)).toBe(command);
});
