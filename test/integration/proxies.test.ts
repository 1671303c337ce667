import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";
import { EventSource } from "eventsource";

import { createRedisSse, type RedisSse } from "../../lib/index.js";
import { sseStream } from "../../middleware/express.js";
import { makeCertificate } from "../support/certificate.js";
import { endWithTests } from "../support/end-with-tests.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { freePort, RedisServer } from "../support/redis-server.js";
import { openStream } from "../support/sse-client.js";
import { startApp, type TestApp } from "../support/test-app.js";

interface Ports {
  /** The port of the app. */
  readonly app: number;
  /** The port of the proxy. */
  readonly proxy: number;
}

interface Proxy {
  readonly program: "nginx" | "haproxy" | "caddy" | "apache2";
  /** Writes the configuration of docs/proxies.md to a folder, with other ports and paths. Returns the arguments. */
  readonly configure: (blocks: readonly string[], folder: string, ports: Ports) => Promise<readonly string[]>;
}

/** The code blocks of one section of docs/proxies.md. */
async function blocksOf(title: string): Promise<readonly string[]> {
  const text = await readFile("docs/proxies.md", "utf8");
  const section = text.split(/^## /m).find((part) => part.startsWith(`${title}\n`)) ?? "";
  return Array.from(section.matchAll(/^```\w+\n(.*?)^```/gms), ([, code]) => code!);
}

/** Replaces a text that must be there. */
function replace(text: string, from: string, to: string): string {
  expect(text, from).to.include(from);
  return text.replaceAll(from, to);
}

function nginxConfig(folder: string, servers: string): string {
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${folder}/${name};`)
    .join("\n");
  return `daemon off; pid ${folder}/pid; error_log ${folder}/errors.log;
    events {} http { access_log off; gzip on; gzip_types text/plain; ${paths} ${servers} }`;
}

async function configureNginx(folder: string, servers: string): Promise<readonly string[]> {
  await writeFile(join(folder, "nginx.conf"), nginxConfig(folder, servers));
  return ["-p", folder, "-e", join(folder, "errors.log"), "-c", join(folder, "nginx.conf")];
}

const nginxServer = (block: string, { app, proxy }: Ports): string =>
  replace(replace(block, "127.0.0.1:3000", `127.0.0.1:${app}`), "listen 80;", `listen 127.0.0.1:${proxy};`);

const PROXIES: Readonly<Record<string, Proxy>> = {
  nginx: {
    program: "nginx",
    configure: ([server], folder, ports) => configureNginx(folder, nginxServer(server!, ports)),
  },
  "two nginx": {
    program: "nginx",
    configure: async ([server, passHeader], folder, { app, proxy }) => {
      const inner = await freePort();
      const first = nginxServer(server!, { app, proxy: inner }).replace(
        "location",
        `${passHeader}\nlocation`,
      );
      return configureNginx(folder, first + nginxServer(server!, { app: inner, proxy }));
    },
  },
  HAProxy: {
    program: "haproxy",
    configure: async ([config, answer], folder, { app, proxy }) => {
      const file = join(folder, "retry.http");
      await writeFile(file, answer!);
      const text = replace(
        replace(
          replace(config!, "127.0.0.1:3000", `127.0.0.1:${app}`),
          "bind :80",
          `bind 127.0.0.1:${proxy}`,
        ),
        "/etc/haproxy/retry.http",
        file,
      );
      await writeFile(join(folder, "haproxy.cfg"), text);
      return ["-db", "-f", join(folder, "haproxy.cfg")];
    },
  },
  Caddy: {
    program: "caddy",
    configure: async ([config], folder, { app, proxy }) => {
      const text = replace(
        replace(config!, "127.0.0.1:3000", `127.0.0.1:${app}`),
        "http://:80",
        `http://127.0.0.1:${proxy}`,
      );
      await writeFile(join(folder, "Caddyfile"), `{\nadmin off\n}\n${text}`);
      return ["run", "--adapter", "caddyfile", "--config", join(folder, "Caddyfile")];
    },
  },
  Apache: {
    program: "apache2",
    configure: async ([config], folder, { app, proxy }) => {
      const file = join(folder, "retry.sse");
      await writeFile(file, "retry: 1000\n\n");
      const text = replace(
        replace(
          replace(config!, "127.0.0.1:3000", `127.0.0.1:${app}`),
          "127.0.0.1:80/",
          `127.0.0.1:${proxy}/`,
        ),
        "/etc/apache2/retry.sse",
        file,
      );
      const names =
        "mpm_event authz_core proxy proxy_http proxy_balancer lbmethod_byrequests slotmem_shm alias headers filter deflate";
      const modules = names
        .split(" ")
        .map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`);
      const head = `ServerRoot ${folder}
        PidFile ${folder}/pid
        ErrorLog ${folder}/errors.log
        ServerName localhost
        User www-data
        Group www-data
        Listen 127.0.0.1:${proxy}`;
      const deflate = "AddOutputFilterByType DEFLATE text/html text/plain";
      await writeFile(join(folder, "apache.conf"), [head, ...modules, deflate, text].join("\n"));
      return ["-f", join(folder, "apache.conf"), "-DFOREGROUND"];
    },
  },
};

async function accepts(port: number): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
  } finally {
    socket.destroy();
  }
}

describe("behind a proxy (docs/proxies.md)", function () {
  this.timeout(60_000);
  let redis: RedisServer;
  let service: RedisSse;
  let app: TestApp;
  let folder: string;
  let proxy: ChildProcess | null;

  before(async function () {
    redis = await RedisServer.start(await need("redis", this));
  });
  after(() => redis.stop());

  const startService = async (port: number): Promise<void> => {
    service = createRedisSse({ redis: redis.url, heartbeatMs: 300 });
    app = await startApp((router) => {
      router.get(
        "/events",
        sseStream((req) => req.query["channel"] as string, { service }),
      );
    }, port);
  };
  const stopService = async (): Promise<void> => {
    await service.close();
    await app.close();
  };
  const start = async (program: string, args: readonly string[], port: number): Promise<void> => {
    proxy = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
    endWithTests(proxy);
    let errors = "";
    proxy.stderr!.setEncoding("utf8").on("data", (text: string) => (errors += text));
    await eventually(() => {
      if (proxy?.exitCode !== null) throw new Error(`${program} has ended: ${errors}`);
      return accepts(port);
    });
  };

  beforeEach(async () => {
    // The user of Apache must be able to read the folder.
    folder = await mkdtemp(join(tmpdir(), "redis-sse-proxy-"));
    execFileSync("chmod", ["755", folder]);
    proxy = null;
    await startService(0);
  });
  afterEach(async () => {
    await stopService();
    if (proxy !== null && proxy.exitCode === null && proxy.signalCode === null) {
      const exited = once(proxy, "exit");
      proxy.kill("SIGTERM");
      await exited;
    }
    await rm(folder, { recursive: true, force: true });
  });

  for (const [name, { program, configure }] of Object.entries(PROXIES)) {
    describe(name, () => {
      let url: string;

      beforeEach(async function () {
        const path = await need(program, this);
        const ports = { app: Number(new URL(app.url).port), proxy: await freePort() };
        const blocks = await blocksOf(name.replace("two ", ""));
        await start(path, await configure(blocks, folder, ports), ports.proxy);
        url = `http://127.0.0.1:${ports.proxy}/events?channel=a`;
      });

      it("delivers each event at once, also after two heartbeats", async () => {
        const client = await openStream(url, { headers: { "Accept-Encoding": "gzip, deflate" } });
        await client.next(({ event }) => event === "connected");
        await service.publish("a", { data: "first" });
        await client.next(({ data }) => data === "first");
        const { length: before } = client.comments;
        await eventually(() => expect(client.comments.length).to.be.greaterThan(before + 1));
        await service.publish("a", { data: "second" });
        await client.next(({ data }) => data === "second");
        expect(client.headers).not.to.have.property("content-encoding");
        client.destroy();
      });

      it("lets an EventSource reconnect after the app has restarted", async () => {
        const source = new EventSource(url);
        const received: string[] = [];
        source.addEventListener("message", ({ data }) => received.push(data as string));
        let connects = 0;
        source.addEventListener("connected", () => connects++);
        try {
          await eventually(() => expect(connects).to.equal(1));
          const port = Number(new URL(app.url).port);
          let failures = 0;
          source.addEventListener("error", () => failures++);
          await stopService();
          // The end of the stream, and at least one attempt while the app is down.
          await eventually(() => expect(failures).to.be.greaterThan(2), 15_000);
          await startService(port);
          await eventually(() => expect(connects).to.equal(2), 20_000);
          await service.publish("a", { data: "again" });
          await eventually(() => expect(received).to.deep.equal(["again"]));
        } finally {
          source.close();
        }
      });
    });
  }

  it("nginx with HTTP/2 and TLS delivers events at once to several streams of one connection", async function () {
    const path = await need("nginx", this);
    const identity = await makeCertificate(this);
    const port = await freePort();
    const [key, certificate] = [join(folder, "key.pem"), join(folder, "certificate.pem")];
    await Promise.all([writeFile(key, identity.key), writeFile(certificate, identity.cert)]);
    const [server] = await blocksOf("nginx");
    const listen = `listen 127.0.0.1:${port} ssl http2; ssl_certificate ${certificate}; ssl_certificate_key ${key};`;
    const block = replace(replace(server!, "127.0.0.1:3000", new URL(app.url).host), "listen 80;", listen);
    await start(path, await configureNginx(folder, block), port);
    const session = connectHttp2(`https://localhost:${port}`, { ca: identity.cert });
    const texts = ["a", "b"].map((channel) => {
      const stream = session.request({ ":path": `/events?channel=${channel}`, accept: "text/event-stream" });
      const received = { channel, text: "" };
      stream.setEncoding("utf8").on("data", (text: string) => (received.text += text));
      return received;
    });
    try {
      await eventually(() => texts.forEach(({ text }) => expect(text).to.include("event: connected")));
      for (const { channel } of texts) await service.publish(channel, { data: `to ${channel}` });
      await eventually(() =>
        texts.forEach(({ channel, text }) => expect(text).to.include(`data: to ${channel}\n`)),
      );
    } finally {
      session.destroy();
    }
  });
});
