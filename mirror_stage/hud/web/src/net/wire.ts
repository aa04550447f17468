/** What EGO sends, as docs/contract.md says it. Nothing here but types. */

export type Status = 'online' | 'stale' | 'offline';
export type Severity = 'info' | 'warning' | 'critical';
export type Role = 'hub' | 'ego' | 'host';

export interface HostEntry {
  hostname: string;
  displayName: string;
  label: string;
  role: Role;
  ip: string | null;
  status: Status;
  severity: Severity | null;
  isSynthetic: boolean;
  lastSeen: string | null;
  agentVersion: string;
  platform: string;
  rack: string | null;
  room: string | null;
  tier: string | null;
  uplink: string | null;
  position: { x: number; y: number; z: number };
  positionSource: 'sample' | 'computed';
  metrics: Metrics;
  slot?: number;
}

export interface Metrics {
  cpuLoad: number | null;
  memoryUsedPercent: number | null;
  loadAverage: number | null;
  uptimeSeconds: number | null;
  cpuTemperature: number | null;
  gpuTemperature: number | null;
  memoryTotalBytes: number | null;
  memoryAvailableBytes: number | null;
  swapUsedPercent: number | null;
  netBytesTx: number | null;
  netBytesRx: number | null;
  netThroughputGbps: number | null;
  netCapacityGbps: number | null;
}

export interface LinkEntry {
  id: string;
  source: string;
  target: string;
  throughputGbps: number;
  rxGbps: number;
  txGbps: number;
  utilization: number;
  capacityGbps: number | null;
  measured: boolean;
  slot?: number;
}

export interface Snapshot {
  type: 'twin-state';
  twinId: string;
  epoch: string;
  revision: number;
  generatedAt: string;
  hosts: HostEntry[];
  links: LinkEntry[];
}

export const GAUGES = [
  'cpuLoad',
  'memoryUsedPercent',
  'loadAverage',
  'cpuTemperature',
  'gpuTemperature',
  'rxGbps',
  'txGbps',
  'utilization',
] as const;
export type Gauge = (typeof GAUGES)[number];

export interface Delta extends Record<Gauge, (number | null)[]> {
  epoch: string;
  revision: number;
  previous: number;
  generatedAt: string;
  removed: number[];
  upserted: { hosts: HostEntry[]; links: LinkEntry[] };
  slots: number[];
  /** 0 online, 1 stale, 2 offline */
  status: number[];
  ageSeconds: (number | null)[];
}

export interface HostDetail extends HostEntry {
  hardware: {
    systemManufacturer: string | null;
    systemModel: string | null;
    biosVersion: string | null;
    cpuModel: string | null;
    cpuPhysicalCores: number | null;
    cpuLogicalCores: number | null;
    memoryTotalBytes: number | null;
    osDistro: string | null;
    osRelease: string | null;
    osKernel: string | null;
  };
  diagnostics: {
    cpuPerCore: number[] | null;
    swapUsedPercent: number | null;
    disks: Disk[] | null;
    interfaces: NetworkInterface[] | null;
    topProcesses: TopProcess[] | null;
    temperatures: Record<string, number> | null;
    tags: Record<string, string>;
  };
  firstSeen: string | null;
  reportedAt: string | null;
  commandPolicy: 'off' | 'allow_list' | 'all' | null;
  lastPollAt: string | null;
}

export interface Disk {
  device: string | null;
  mountpoint: string;
  fstype: string | null;
  totalBytes: number | null;
  usedBytes: number | null;
  usedPercent: number | null;
}

export interface NetworkInterface {
  name: string;
  bytesSent: number | null;
  bytesRecv: number | null;
  packetsSent: number | null;
  packetsRecv: number | null;
  errIn: number | null;
  errOut: number | null;
  dropIn: number | null;
  dropOut: number | null;
  speedMbps: number | null;
  isUp: boolean | null;
}

export interface TopProcess {
  pid: number | null;
  name: string;
  username: string | null;
  cpuPercent: number | null;
  memoryPercent: number | null;
}

export interface Alert {
  id: string;
  hostname: string;
  severity: Severity;
  metric: string;
  subject: string | null;
  message: string;
  threshold: number;
  currentValue: number;
  status: 'active' | 'resolved';
  createdAt: string;
  updatedAt: string;
  resolvedAt: string | null;
  resolvedReason: string | null;
}

export interface AlertUpdate {
  transition: 'fired' | 'updated' | 'resolved';
  version: number;
  alert: Alert;
}

export interface Command {
  id: string;
  hostname: string;
  command: string;
  timeoutSeconds: number;
  status: 'pending' | 'running' | 'succeeded' | 'failed' | 'timeout';
  reason: string | null;
  requestedAt: string;
  startedAt: string | null;
  completedAt: string | null;
  expiresAt: string;
  leaseUntil: string | null;
  exitCode: number | null;
  stdout: string | null;
  stderr: string | null;
  stdoutBytes: number | null;
  stderrBytes: number | null;
  truncated: boolean;
  late: boolean;
  durationSeconds: number | null;
  cancelRequested: boolean;
  deliverable: boolean;
  metadata: Record<string, unknown> | null;
  requestedBy: string | null;
  retryOf: string | null;
  version: number;
  updatedAt: string;
}

export interface CommandOutput {
  id: string;
  seq: number;
  stream: 'stdout' | 'stderr';
  data: string;
}

export interface Rule {
  name: string;
  unit: string;
  fireAt: number;
  resolveAt: number;
  severity: Severity;
}

export interface Info {
  version: string;
  build: string;
  twinId: string;
  features: string[];
  hub: string;
  ego: string;
  rules: Rule[];
  staleAfterSeconds: number;
  offlineAfterSeconds: number;
}

export interface Page<Row> {
  items: Row[];
  total: number;
  page: number;
  pageSize: number;
}

/** application/problem+json */
export interface ProblemBody {
  title: string;
  status: number;
  detail: string;
  errors?: { index?: number; field: string; message: string }[];
}

/** `GET /api/history`: columns, a value for each instant of `t`. */
export interface HistoryHead {
  from: string;
  to: string;
  stepSeconds: number;
  resolution: 'raw' | '1m' | '15m';
  t: string[];
}

type HistoryColumns<Statistic extends string> = Record<string, Record<Statistic, (number | null)[]>>;

export interface HostsHistory extends HistoryHead {
  hosts: { hostname: string; metrics: HistoryColumns<'avg' | 'min' | 'max' | 'count'> }[];
}

export interface GroupsHistory extends HistoryHead {
  groupBy: string;
  groups: { group: string | null; hosts: number; metrics: HistoryColumns<'mean' | 'min' | 'max' | 'p95'> }[];
}

/** `GET /api/twin/state?at=`: the twin as it was. */
export interface PastSnapshot extends Snapshot {
  at: string;
  resolution: 'raw' | '1m' | '15m';
  alerts: Alert[];
}

/** `GET /api/timeline`: numbers per bucket, which begins at its `t`. */
export interface Timeline {
  from: string;
  to: string;
  bucketSeconds: number;
  t: string[];
  alerts: Record<'fired' | 'active' | 'resolved', Record<Severity, number[]>>;
  commands: Record<'created' | 'finished' | 'failed', number[]>;
  hosts: { online: number[] };
}
