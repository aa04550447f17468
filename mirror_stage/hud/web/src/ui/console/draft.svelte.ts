/** What is being written, kept while one looks at other screens. */

export const TIMEOUT_USUAL = 30;
export const TIMEOUT_MOST = 600;
export const COMMAND_BYTES_MOST = 8 * 1024;

export const draft = $state({ command: '', timeoutSeconds: TIMEOUT_USUAL as number | null });
