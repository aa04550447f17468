/**
 * What the agent makes of a command that it runs without a shell: what it refuses, and what it passes on as written. The
 * rule is the agent's (reflector/words.py); tests/fixtures/command-words.json holds both to the same cases. Pure.
 */

export interface Words {
  /** The first part that only a shell can do */
  readonly operator: string | null;
  /** What a shell would replace */
  readonly asWritten: readonly string[];
  /** What only looks like a blank, a quote or a hyphen; what nobody sees as `U+00A0` */
  readonly lookalikes: readonly string[];
}

const OPERATORS = ['&&', '||', '|&', '&>', '>>', '<<', '>&', '<&', '|', '&', ';', '<', '>', '(', ')'];
const NAME = /^\$(?:[\p{L}\p{N}_]+|\{[^}]*\}|[@*#?$!-])/u;
const BRACES = /\{[^{}\s]*(?:,|\.\.)[^{}\s]*\}/g;
const BRACKETS = /\[.*\]/;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*\+?$/;
const BLANKS = /^[ \t\r\n]*$/;
const SHELL_WORDS = new Set(
  (
    '! . : [[ alias bg bind builtin case cd command coproc declare do eval exec exit export fg for function getopts hash if jobs ' +
    'let local popd pushd read readonly return select set shift shopt source times trap type typeset ulimit umask unalias ' +
    'unset until wait while { then elif else fi done esac } dirs disown history logout mapfile readarray'
  ).split(' '),
);

// eslint-disable-next-line no-control-regex
const INVISIBLE = /[\x01-\x08\x0b\x0c\x0e-\x1f\x7f\xa0\xad\u1680\u2000-\u200f\u2028-\u202f\u205f-\u2064\u3000\ufeff]/;
const QUOTES = /[\u2018-\u201f]/;
const HYPHENS = /[\u2010-\u2015\u2212]/;

/** The words of a command; null if they cannot be read: an open quote, a backslash at the end, no program. */
export function wordsOf(command: string): Words | null {
  if (command.includes('\0')) return null;
  const asWritten: string[] = [];
  const lookalikes: string[] = [];
  let operator: string | null = null;
  let program: string | null = null;
  let word: string | null = null;
  let unquoted = '';

  const found = (what: string): void => {
    operator ??= what;
  };
  const add = (more: string): void => {
    word = (word ?? '') + more;
  };
  const endWord = (): void => {
    if (word !== null) {
      if (program === null && word === unquoted && SHELL_WORDS.has(word)) found(`the word ${word}`);
      program ??= word;
      if (!word.includes('://')) {
        asWritten.push(...[...'*?'].filter((char) => unquoted.includes(char)));
        if (BRACKETS.test(unquoted)) asWritten.push('[');
      }
      asWritten.push(...(unquoted.match(BRACES) ?? []));
    }
    word = null;
    unquoted = '';
  };
  const lookAtExpansion = (rest: string): void => {
    if (rest.startsWith('`')) found('a command in backticks');
    else if (rest.startsWith('$(')) found('$( )');
    else {
      const name = NAME.exec(rest);
      if (name) asWritten.push(name[0]);
    }
  };

  for (let at = 0; at < command.length; ) {
    const char = command[at] as string;
    if (char === ' ' || char === '\t') {
      endWord();
      at++;
    } else if (char === "'") {
      const end = command.indexOf("'", at + 1);
      if (end < 0) return null;
      add(command.slice(at + 1, end));
      at = end + 1;
    } else if (char === '"') {
      add('');
      for (at++; command[at] !== '"'; ) {
        if (at >= command.length) return null;
        const next = command[at + 1];
        if (command[at] === '\\' && next !== undefined && '$`"\\\n'.includes(next)) {
          add(next === '\n' ? '' : next);
          at += 2;
        } else {
          lookAtExpansion(command.slice(at));
          add(command[at++] as string);
        }
      }
      at++;
    } else if (char === '\\') {
      if (at + 1 >= command.length) return null;
      if (command[at + 1] !== '\n') add(command[at + 1] as string);
      at += 2;
    } else if (char === '\r' || char === '\n') {
      endWord();
      if (program !== null && !BLANKS.test(command.slice(at))) found('a line break');
      at++;
    } else {
      const rest = command.slice(at);
      if (INVISIBLE.test(char)) lookalikes.push(`U+${char.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`);
      else if (QUOTES.test(char) || (word === null && HYPHENS.test(char))) lookalikes.push(char);
      if (char === '#' && word === null) found('a comment: #');
      const known = OPERATORS.find((one) => rest.startsWith(one));
      if (known !== undefined) found(known);
      lookAtExpansion(rest);
      if (char === '~' && (word === null || unquoted.endsWith('='))) asWritten.push('~');
      if (char === '$' && /^.['"]/.test(rest)) asWritten.push(rest.slice(0, 2));
      if (char === '=' && program === null && word === unquoted && VARIABLE.test(unquoted)) found(`the assignment ${unquoted}=`);
      unquoted += char;
      add(char);
      at++;
    }
  }
  endWord();
  return program ? { operator, asWritten: [...new Set(asWritten)], lookalikes: [...new Set(lookalikes)] } : null;
}

/** A command that runs `script` with a shell. */
export function asScript(script: string): string {
  return `sh -c '${script.replaceAll("'", "'\\''")}'`;
}
