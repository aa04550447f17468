/**
 * Which file each module goes into. Few files pack better than many: what the first paint needs is one, what the screens
 * need that are opened later is another, a third is small things that load when somebody opens one, and a fourth is what only
 * those need that few people open. Each file imports from those before it only, so that nothing is used before it is there.
 */

import { fileURLToPath } from 'node:url';

interface Context {
  getModuleInfo(id: string): { importedIds: readonly string[]; dynamicallyImportedIds: readonly string[] } | null;
}

const ENTRY = fileURLToPath(new URL('../src/main.ts', import.meta.url));
const SELDOM = /[\\/]ui[\\/](alerting[\\/]\w+|screens[\\/](Console|Access|Enrolment|History|Compare)|SignIn|KillSwitch)\.svelte$/;
const BACK_TEST = /[\\/]alerting[\\/]BackTest\.svelte$/; // a file of its own: few who write a rule look back
const SMALL = /[\\/]ui[\\/](host[\\/]Processes|Views)\.svelte$/;
const APART = /[\\/]src[\\/](scene[\\/]|i18n[\\/](en|ko)\.ts|probe\.ts|bench\.ts)/;

/** The files, in the order in which they may import from each other, with the modules of each. */
let files: (readonly [name: string, modules: ReadonlySet<string>])[] = [];

function sorted(context: Context): typeof files {
  const infoOf = (id: string): NonNullable<ReturnType<Context['getModuleInfo']>> => {
    const info = context.getModuleInfo(id);
    if (info === null) throw new Error(`${id} is no module; look at build/chunks.ts`);
    return info;
  };
  const reachedFrom = (roots: Iterable<string>, hop: (id: string) => readonly string[]): Set<string> => {
    const reached = new Set<string>(roots);
    for (const id of reached) for (const next of hop(id)) reached.add(next);
    return reached;
  };
  const all = reachedFrom([ENTRY], (id) => [...infoOf(id).importedIds, ...infoOf(id).dynamicallyImportedIds]);
  const later = new Set([...all].flatMap((id) => infoOf(id).dynamicallyImportedIds).filter((id) => !APART.test(id)));
  const needed = (roots: Iterable<string>): Set<string> => reachedFrom(roots, (id) => infoOf(id).importedIds);
  return [
    ['start', needed([ENTRY])],
    ['screens', needed([...later].filter((id) => !SELDOM.test(id) && !SMALL.test(id)))],
    ['seldom-small', needed([...later].filter((id) => SMALL.test(id)))],
    ['seldom', needed([...later].filter((id) => SELDOM.test(id) && !BACK_TEST.test(id)))],
    ['seldom-backtest', needed([...later].filter((id) => BACK_TEST.test(id)))],
  ];
}

/** The file of a module, or null where the bundler decides. */
export function chunkOf(id: string, context: Context): string | null {
  if (files.length === 0) files = sorted(context);
  if (/node_modules[\\/]three/.test(id)) return 'three';
  if (/node_modules[\\/]uplot/.test(id)) return 'chart';
  return files.find(([, modules]) => modules.has(id))?.[0] ?? null;
}
