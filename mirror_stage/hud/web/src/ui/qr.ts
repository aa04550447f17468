/** A text as a QR code. Pure. */

import { correction, generate } from 'lean-qr/nano';

/** Light modules around the code, without which scanners do not find it. */
export const QUIET = 4;

/** How many modules wide the code is without its quiet zone, and the path of the dark ones, where a module is 1 × 1. */
export function qrCode(text: string): { size: number; path: string } {
  const code = generate(text, { minCorrectionLevel: correction.M });
  let path = '';
  for (let y = 0; y < code.size; y++) {
    for (let x = 0, end = 0; x < code.size; x = end + 1) {
      for (end = x; code.get(end, y); ) end++;
      if (end > x) path += `M${x} ${y}h${end - x}v1H${x}z`;
    }
  }
  return { size: code.size, path };
}
