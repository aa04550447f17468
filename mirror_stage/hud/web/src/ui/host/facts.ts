/** What is known of a machine beside its metrics, as names and values. Pure. */

import type { Dictionary } from '../../i18n/en';
import type { Format } from '../../i18n/format';
import type { Host, HostDetail } from '../../net/openapi';

/** `now`: EGO's clock, milliseconds. What is not known is left out. */
export function factsOf(host: Host, detail: HostDetail | undefined, now: number, t: Dictionary, f: Format): [name: string, value: string, isPinned?: boolean][] {
  const hardware = detail?.hardware;
  const swap = detail?.diagnostics.swapUsedPercent ?? null;
  const words = (...parts: (string | null | undefined)[]): string => parts.filter(Boolean).join(' ');
  const isPinned = (label: string): boolean => detail?.pinned.includes(label) ?? false;
  const rows: [string, string | null | undefined, boolean?][] = [
    [t.fields.platform, host.platform],
    [t.host.os, words(hardware?.osDistro, hardware?.osRelease)],
    [t.host.kernel, hardware?.osKernel],
    [t.host.model, words(hardware?.systemManufacturer, hardware?.systemModel)],
    [t.host.cpuModel, hardware?.cpuModel],
    [t.metrics.capacityGbps, host.metrics.netCapacityGbps === null ? null : f.metric('capacityGbps', host.metrics.netCapacityGbps)],
    [t.metrics.memoryTotalBytes, host.metrics.memoryTotalBytes === null ? null : f.metric('memoryTotalBytes', host.metrics.memoryTotalBytes)],
    [t.metrics.swapUsedPercent, swap === null ? null : f.metric('swapUsedPercent', swap)],
    [t.host.bios, hardware?.biosVersion],
    [t.fields.room, host.room, isPinned('room')],
    [t.fields.tier, host.tier, isPinned('tier')],
    [t.fields.uplink, host.uplink],
    [t.fields.agentVersion, host.agentVersion],
    [t.host.policy, detail && `${policyOf(detail, t)} · ${detail.lastPollAt ? t.host.lastPoll(f.age(Math.max(0, now - Date.parse(detail.lastPollAt)) / 1000)) : t.host.neverPolled}`],
    [t.host.firstSeen, detail?.firstSeen && f.dateTime(detail.firstSeen)],
  ];
  return rows.filter((row): row is [string, string, boolean?] => Boolean(row[1]));
}

function policyOf({ commandPolicy }: HostDetail, t: Dictionary): string {
  return (t.host.policies as Record<string, string>)[commandPolicy ?? ''] ?? t.host.policies.unknown;
}
