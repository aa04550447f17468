/** Stands where Engine.IO imports its WebTransport, which EGO does not speak. */
export class WT {}
