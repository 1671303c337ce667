import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { once } from "node:events";

import { startProgram, stop } from "./children.js";
import { makeFolder } from "./folders.js";
import { freePort } from "./free-port.js";
import { childrenOf } from "./proc.js";
import { outsideView, type Server } from "./server.js";

const MODULE_FOLDERS = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/local/nginx/modules"];

function findModule(): string | null {
  return MODULE_FOLDERS.map((folder) => join(folder, "ngx_nchan_module.so")).find(existsSync) ?? null;
}

/** Why Nchan cannot be measured here; null when it can. */
export function whyNoNchan(): string | null {
  if (spawnSync("nginx", ["-v"]).error !== undefined) return "nginx is not installed";
  return findModule() === null ? "nginx has no nchan module (Debian: libnginx-mod-nchan)" : null;
}

/** nginx with one worker, whose channels are in its memory. */
export async function startNchan(): Promise<Server> {
  const folder = makeFolder();
  const port = await freePort();
  await writeFile(join(folder, "nginx.conf"), configuration(folder, port));
  const child = startProgram("nginx", ["-p", folder, "-c", join(folder, "nginx.conf"), "-e", "stderr"]);
  let complaint = "";
  child.stderr.on("data", (chunk) => (complaint += String(chunk)));
  try {
    await listening(port);
  } catch {
    await stop(child);
    throw new Error(`nginx did not start: ${complaint.trim()}`);
  }
  return {
    port,
    ...outsideView([child.pid!, ...childrenOf(child.pid!)]),
    stop: () => stop(child),
  };
}

function configuration(folder: string, port: number): string {
  return `
load_module ${findModule()};
daemon off;
${process.getuid?.() === 0 ? "user root;" : ""}
worker_processes 1;
worker_rlimit_nofile 20000;
pid ${folder}/nginx.pid;
error_log stderr crit;
events { worker_connections 16000; }
http {
  access_log off;
  keepalive_requests 1000000000;
  tcp_nodelay on;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  nchan_shared_memory_size 256M;
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = /stream {
      nchan_subscriber eventsource;
      nchan_channel_id $arg_channel;
      nchan_subscriber_first_message newest;
    }
    location = /publish {
      nchan_publisher;
      nchan_channel_id $arg_channel;
      nchan_message_buffer_length 1000;
    }
  }
}
`;
}

async function listening(port: number): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const socket = connect(port, "127.0.0.1");
    try {
      await once(socket, "connect");
      return;
    } catch (error) {
      if (attempt === 50) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    } finally {
      socket.destroy();
    }
  }
}
