import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** CPU that the threads of a process have used, in microseconds; of those that are still there. */
export function cpuOf(pid: number): number {
  let ns = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    ns += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]);
  }
  return ns / 1000;
}

/** Resident memory of a process, in KB. */
export function memoryOf(pid: number): number {
  return statusOf(pid, "VmRSS");
}

/** The most that it has had. */
export function peakMemoryOf(pid: number): number {
  return statusOf(pid, "VmHWM");
}

function statusOf(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1]);
}

export function childrenOf(pid: number): number[] {
  const list = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return list === "" ? [] : list.split(" ").map(Number);
}

/** How many connections a process has to that port on this machine: of Redis, as `CLIENT LIST` would count them. */
export function connectionsOf(pid: number, port: number): number {
  const remote = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const sockets = readFileSync(`/proc/${pid}/net/tcp`, "utf8").split("\n").slice(1);
  const inodes = new Set(
    sockets
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , to, state]) => to === remote && state === ESTABLISHED)
      .map((fields) => `socket:[${fields[9]}]`),
  );
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => inodes.has(linkOf(`/proc/${pid}/fd/${fd}`))).length;
}

const ESTABLISHED = "01";

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // closed meanwhile
  }
}
