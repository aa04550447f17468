/** Instead of what Socket.IO does with bytes: EGO and the HUD send each other JSON alone. */

export const hasBinary = (): boolean => false;
export const isBinary = hasBinary;

export function deconstructPacket(): never {
  throw new Error('bytes are not sent');
}
export const reconstructPacket = deconstructPacket;
export const decode = deconstructPacket;
