import { open } from "node:fs/promises";

import type { ReadTcpTable } from "./dead-peer-detector.js";

/** The kernel returns one memory page per read, whatever size is requested. On some machines, pages are larger than 4 KiB. */
const CHUNK_BYTES = 64 * 1024;

/** Reads `/proc/net/tcp` or `/proc/net/tcp6` of this process's network namespace. `null` on all systems except Linux. */
export const readTcpTable: ReadTcpTable | null = process.platform === "linux" ? readTable : null;

/** Reads in pieces. For 10,000 connections, a table has 1.5 MB, and `readFile()` allocates 64 KiB for each page of it. */
async function* readTable(...[table, signal]: Parameters<ReadTcpTable>): AsyncGenerator<string> {
  const file = await open(`/proc/net/${table}`);
  try {
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
    let rest = "";
    while (!signal.aborted) {
      const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES, null);
      if (bytesRead === 0) return;
      const text = rest + buffer.toString("latin1", 0, bytesRead);
      const end = text.lastIndexOf("\n") + 1;
      rest = text.slice(end);
      yield text.slice(0, end);
    }
  } finally {
    await file.close();
  }
}
