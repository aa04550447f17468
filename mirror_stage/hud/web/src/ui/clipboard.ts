/** Text and files out of the page. */

/** Whether `text` is on the clipboard now; browsers refuse that on plain HTTP away from localhost. */
export async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** Save `text` as a file. */
export function download(name: string, text: string, type = 'text/csv'): void {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A number as a file has it. One that was kept in 4 bytes is written in the fewest digits that give the same 4 bytes. */
export function shortest(value: number): string {
  if (!Number.isInteger(value) && Math.fround(value) === value) {
    for (let digits = 1; digits <= 9; digits++) {
      const short = Number(value.toPrecision(digits));
      if (Math.fround(short) === value) return String(short);
    }
  }
  return String(value);
}

/** Rows as CSV (RFC 4180) with a byte order mark, so that spreadsheets read Korean; a formula stays text, also after white space. */
export function csv(rows: readonly (readonly (string | number | null)[])[]): string {
  const cell = (value: string | number | null): string => {
    if (value === null || Number.isNaN(value)) return '';
    if (typeof value === 'number') return shortest(value);
    const text = /^(\s*[=+\-@]|[\t\r])/.test(value) ? `'${value}` : value;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return `\ufeff${rows.map((row) => row.map(cell).join(',')).join('\r\n')}\r\n`;
}
