/** What cannot be seen, or turns the text around it: controls, bidi marks, invisible letters, odd spaces. Lines and tabs are meant. */
const HIDDEN = /(?![\n\t ])[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}\u2800]/gu;

/** A text as its reader has to see it: what is hidden in it is a visible escape. EGO does the same to what hosts say. */
export function visible(text: string): string {
  return text.replace(HIDDEN, (char) => Array.from({ length: char.length }, (_, at) => `\\u${char.charCodeAt(at).toString(16).padStart(4, '0')}`).join(''));
}
