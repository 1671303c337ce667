import { inspect } from "node:util";

import { expect } from "chai";
import type { Redis } from "ioredis";
import { stub } from "sinon";

import { RedisSseError, type Notification, type RedisSse } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import {
  circular,
  expectFault,
  faultOf,
  listen,
  type MakeService,
  rawClient,
  type ServiceUnderTest,
  thrower,
} from "../support/service.js";

let users = 0;

const MAX_STORED = 200;

/** Tests notifications on any server. */
export function describeNotifications(name: string, makeService: MakeService): void {
  describe(`notifications on ${name}`, () => {
    let userId: string;
    let sse: RedisSse;
    let raw: Redis;
    let heard: Awaited<ReturnType<typeof listen>>;
    let service: ServiceUnderTest;

    beforeEach(async () => {
      userId = `user ${users++}`;
      service = await makeService();
      sse = service.sse;
      raw = rawClient(sse);
      heard = await listen(sse, `notifications:${userId}`);
    });

    afterEach(async () => {
      await heard.stop();
      await raw.quit();
      await service.stop();
    });

    const create = (fields: object = {}): Promise<string> =>
      sse.notifications.create({ userId, title: "Report ready", ...fields });

    it("publishes notifications as JSON on notifications:{userId} and stores the same JSON", async () => {
      const before = Date.now();
      const id = await create({ body: "3 pages\n\u2028é", data: { report: 7 } });
      expect(id).to.match(/^[\w-]{36}$/);
      await heard.sync();
      expect(heard.messages).to.have.length(1);
      const { createdAt, ...rest } = JSON.parse(heard.messages[0]!) as Notification;
      expect(rest).to.deep.equal({
        id,
        userId,
        title: "Report ready",
        body: "3 pages\n\u2028é",
        data: { report: 7 },
      });
      expect(Date.parse(createdAt)).to.be.within(before, Date.now());
      expect(await sse.notifications.list(userId)).to.deep.equal([{ ...rest, createdAt }]);
    });

    it("uses an empty body and no data by default", async () => {
      await create();
      const [notification] = await sse.notifications.list(userId);
      expect(notification).to.have.all.keys("id", "userId", "title", "body", "createdAt");
      expect(notification!.body).to.equal("");
    });

    it("lists the newest first, 50 by default", async () => {
      for (let index = 0; index < 60; index++) await create({ title: `title ${index}` });
      const titles = async (options?: { limit?: number }): Promise<readonly string[]> =>
        (await sse.notifications.list(userId, options)).map(({ title }) => title);
      expect(await titles({ limit: 3 })).to.deep.equal(["title 59", "title 58", "title 57"]);
      expect(await titles({ limit: 1 })).to.deep.equal(["title 59"]);
      expect(await titles()).to.have.length(50);
      expect(await titles({ limit: 200 })).to.have.length(60);
    });

    it("keeps the newest 200 of a user for 30 days after the last one", async () => {
      const key = `sse:inbox:${userId}`;
      for (let index = 0; index < MAX_STORED + 5; index++) await create({ title: `title ${index}` });
      const kept = await sse.notifications.list(userId, { limit: MAX_STORED });
      expect(kept).to.have.length(MAX_STORED);
      expect(kept[0]!.title).to.equal("title 204");
      expect(kept.at(-1)!.title).to.equal("title 5");
      expect(await raw.llen(key)).to.equal(MAX_STORED);
      expect(await raw.ttl(key)).to.be.within(30 * 24 * 3_600 - 60, 30 * 24 * 3_600);
      await raw.expire(key, 1_000);
      await create();
      expect(await raw.ttl(key)).to.be.greaterThan(1_000);
    });

    it("does not show notifications of one user to another user", async () => {
      await create();
      expect(await sse.notifications.list(`${userId} too`)).to.deep.equal([]);
      await sse.notifications.create({ userId: `${userId} too`, title: "other" });
      await heard.sync();
      expect(heard.messages).to.have.length(1);
      expect(await sse.notifications.list(userId)).to.have.length(1);
    });

    it("accepts the longest user id and the largest notification", async () => {
      const longest = `${userId} ${"x".repeat(127 - userId.length)}`;
      await sse.notifications.create({ userId: longest, title: "t" });
      const [{ id, createdAt }] = (await sse.notifications.list(longest)) as [Notification];
      const empty = JSON.stringify({ id, userId: longest, title: "t", body: "", createdAt });
      const body = "x".repeat(256 * 1024 - Buffer.byteLength(empty));
      await sse.notifications.create({ userId: longest, title: "t", body });
      expect((await sse.notifications.list(longest, { limit: 1 }))[0]!.body).to.equal(body);
      expectFault(
        await faultOf(sse.notifications.create({ userId: longest, title: "t", body: `${body}x` })),
        "EVENT_TOO_LARGE",
      );
    });

    for (const [what, fields, code] of [
      ["an empty user id", { userId: "" }, "INVALID_NOTIFICATION"],
      ["a user id that is a number", { userId: 7 }, "INVALID_NOTIFICATION"],
      ["a user id that is too long", { userId: "é".repeat(250) }, "INVALID_NOTIFICATION"],
      ["a user id with a line break", { userId: "a\nb" }, "INVALID_NOTIFICATION"],
      ["a user id with DEL", { userId: "a\u007f" }, "INVALID_NOTIFICATION"],
      // UTF-8 replaces it with U+FFFD, so it would be the inbox and the channel of another user.
      ["a user id with half a surrogate pair", { userId: "a\ud800" }, "INVALID_NOTIFICATION"],
      ["no title", { title: undefined }, "INVALID_NOTIFICATION"],
      ["a title that is a number", { title: 7 }, "INVALID_NOTIFICATION"],
      ["a body that is an object", { body: {} }, "INVALID_NOTIFICATION"],
      ["an unknown field", { message: "hunter2" }, "INVALID_NOTIFICATION"],
      ["a BigInt in its data", { data: { amount: 1n } }, "UNSERIALIZABLE"],
      ["circular data", { data: circular }, "UNSERIALIZABLE"],
      ["data whose toJSON throws", { data: thrower }, "UNSERIALIZABLE"],
      ["data that is a function", { data: () => {} }, "UNSERIALIZABLE"],
      ["a body over the limit in bytes", { body: "é".repeat(128 * 1024) }, "EVENT_TOO_LARGE"],
    ] as const) {
      it(`rejects a notification with ${what} as ${code} and neither stores nor sends it`, async () => {
        const fault = await faultOf(create(fields));
        expectFault(fault, code);
        expect(String(fault)).to.not.include("hunter2");
        await heard.sync();
        expect(heard.messages).to.deep.equal([]);
        expect(await raw.exists(`sse:inbox:${userId}`)).to.equal(0);
      });
    }

    it("rejects non-objects in create() and invalid user ids and options in list()", async () => {
      const { notifications } = sse;
      for (const given of [undefined, null, "text"])
        expectFault(await faultOf(notifications.create(given as never)), "INVALID_NOTIFICATION");
      expect(String(await faultOf(notifications.list(undefined as never)))).to.include("got undefined");
      for (const given of ["", "a\r", 7, ["a"], null])
        expectFault(await faultOf(notifications.list(given as string)), "INVALID_NOTIFICATION");
      for (const limit of [0, 201, 1.5, NaN, "10", null])
        expectFault(await faultOf(notifications.list(userId, { limit: limit as never })), "CONFIG");
      for (const options of [null, 5, { count: 5 }])
        expectFault(await faultOf(notifications.list(userId, options as never)), "CONFIG");
    });

    it("delivers to a user with the longest id", async () => {
      const long = `${"😀".repeat(124)}é`;
      expect(Buffer.byteLength(long)).to.equal(498);
      const stop = await listen(sse, `notifications:${long}`);
      await sse.notifications.create({ userId: long, title: "hello" });
      await eventually(() => expect(stop.messages).to.have.length(1));
      await stop.stop();
      expect(sse.check({ method: "GET" }, `notifications:${long}`)).to.equal(null);
    });

    it("omits notifications that another program has damaged, and counts them", async () => {
      const id = await create();
      const damaged = ["no json", "7", "null", "{}", JSON.stringify({ id, userId: "other", title: "" })];
      await raw.lpush(`sse:inbox:${userId}`, ...damaged);
      expect((await sse.notifications.list(userId)).map((each) => each.id)).to.deep.equal([id]);
      expect((await sse.status({ drift: false })).notifications).to.deep.equal({
        unreadable: damaged.length,
      });
    });

    it("stores a notification that cannot be sent, returns its id, and logs no secret", async () => {
      const secret = Object.assign(new Error("WRONGPASS for redis://app:hunter2@db.internal"), {
        command: { name: "auth", args: ["3", "AUTH", "app", "hunter2"] },
      });
      await sse.publish("another", { data: "" }); // Defines the script command on the client.
      const publish = stub(
        sse.pool.commands as Redis & { redisSsePublish: () => Promise<unknown> },
        "redisSsePublish",
      ).rejects(secret);
      const warn = stub(console, "warn");
      let id: string;
      try {
        id = await create();
      } finally {
        warn.restore();
        publish.restore();
      }
      expect((await sse.notifications.list(userId)).map((stored) => stored.id)).to.deep.equal([id]);
      expect(warn.args).to.have.length(1);
      expect(warn.args[0]![0]).to.include("could not be sent to open streams");
      expect(warn.args[0]![0]).to.not.match(/hunter2|db\.internal/);
      await heard.sync();
      expect(heard.messages).to.deep.equal([]);
    });

    it("rejects a notification that cannot be stored with a safe error and does not send it", async () => {
      await raw.set(`sse:inbox:${userId}`, "no list");
      const fault = await faultOf(create());
      expect(fault).to.be.instanceOf(RedisSseError);
      expect((fault as RedisSseError).code).to.be.oneOf(["REDIS_REFUSED", "INTERNAL"]);
      expect(inspect(fault, { depth: 9, showHidden: true })).to.not.match(/Report ready|LPUSH|evalsha/i);
      await heard.sync();
      expect(heard.messages).to.deep.equal([]);
    });

    it("rejects with CLOSED after its service is closed", async () => {
      const other = await makeService();
      await other.stop();
      const { notifications } = other.sse;
      expectFault(await faultOf(notifications.create({ userId, title: "late" })), "CLOSED");
      expectFault(await faultOf(notifications.list(userId)), "CLOSED");
    });
  });
}
