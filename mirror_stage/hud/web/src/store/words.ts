/**
 * What the agent makes of a command that it runs without a shell: what it refuses, and what it passes on as written. The
 * rule is the agent's (reflector/words.py); tests/fixtures/command-words.json holds both to the same cases. Pure.
 */

export interface Words {
  /** The first part that only a shell can do */
  readonly operator: string | null;
  /** What a shell would replace */
  readonly asWritten: readonly string[];
}

const OPERATORS = ['&&', '||', '|&', '&>', '>>', '<<', '>&', '<&', '|', '&', ';', '<', '>', '(', ')'];
const NAME = /^\$(?:[\p{L}\p{N}_]+|\{[^}]*\}|[@*#?$!-])/u;
const BRACES = /\{[^{}\s]*(?:,|\.\.)[^{}\s]*\}/g;

/** The words of a command; null if they cannot be read: an open quote, a backslash at the end, no program. */
export function wordsOf(command: string): Words | null {
  const text = command.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, '');
  if (text.includes('\0')) return null;
  const asWritten: string[] = [];
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
      program ??= word;
      if (!word.includes('://')) asWritten.push(...[...'*?['].filter((char) => unquoted.includes(char)));
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

  for (let at = 0; at < text.length; ) {
    const char = text[at] as string;
    if (char === ' ' || char === '\t') {
      endWord();
      at++;
    } else if (char === "'") {
      const end = text.indexOf("'", at + 1);
      if (end < 0) return null;
      add(text.slice(at + 1, end));
      at = end + 1;
    } else if (char === '"') {
      add('');
      for (at++; text[at] !== '"'; ) {
        if (at >= text.length) return null;
        const next = text[at + 1];
        if (text[at] === '\\' && next !== undefined && '$`"\\\n'.includes(next)) {
          add(next === '\n' ? '' : next);
          at += 2;
        } else {
          lookAtExpansion(text.slice(at));
          add(text[at++] as string);
        }
      }
      at++;
    } else if (char === '\\') {
      if (at + 1 >= text.length) return null;
      if (text[at + 1] !== '\n') add(text[at + 1] as string);
      at += 2;
    } else if (char === '\r' || char === '\n') {
      found('a line break');
      endWord();
      at++;
    } else {
      const rest = text.slice(at);
      if (char === '#' && word === null) found('a comment: #');
      const known = OPERATORS.find((one) => rest.startsWith(one));
      if (known !== undefined) found(known);
      lookAtExpansion(rest);
      if (char === '~' && word === null) asWritten.push('~');
      unquoted += char;
      add(char);
      at++;
    }
  }
  endWord();
  return program ? { operator, asWritten: [...new Set(asWritten)] } : null;
}

/** A command that runs `script` with a shell. */
export function asScript(script: string): string {
  return `sh -c '${script.replaceAll("'", "'\\''")}'`;
}
