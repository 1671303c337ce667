import { expect } from "chai";

import type { RedisSse, SlowConsumerPolicy } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import type { SseClient } from "../support/sse-client.js";
import type { StreamApp } from "../support/stream-app.js";
import { dataOf, gapsOf, lastIdOf } from "../support/stream-harness.js";
import { isGap } from "../support/fault-steps.js";

/** Large enough to fill the network buffers of a client soon. */
const PADDING = "x".repeat(100_000);
const MEGABYTE = 1024 * 1024;
const EVENTS = 300;

const CHANNELS = ["a", "b"];

for (const subscriptions of ["shared", "dedicated"] as const) {
  describeFaults(
    `a slow client, ${subscriptions}`,
    (rig) => {
      const limits = { maxBufferedBytes: 2 * MEGABYTE };

      const latestBy = ({ data }: { data: string }): string => String(parseInt(data, 10) % 6);
      for (const [what, policy, least, most] of [
        ["drop-oldest: gets the newest events", "drop-oldest", 2, 20],
        ["latest: gets the newest event of each channel", "latest", 2, 2],
        ["latestBy: gets the newest event of each key", { latestBy }, 6, 6],
      ] as const) {
        it(`${what}, and a gap event for the dropped events`, async () => {
          const { slow, app } = await stallThrough(policy);
          const numbers = numbersOf(slow);
          const resumed = numbers.slice(numbers.findIndex((number, index) => number !== index));
          expect(resumed.length, "what had room").to.be.within(least, most);
          expect(resumed).to.deep.equal(range(EVENTS - resumed.length, EVENTS));
          for (const { reason } of gapsOf(slow)) expect(reason).to.equal("slow-consumer");
          expect(gapsOf(slow).flatMap(({ channels }) => channels)).to.have.members(CHANNELS);
          const { gaps } = (await app.service.status()).history;
          expect(gaps).to.deep.equal({ "slow-consumer": 2 });
          await expectResumes(app, slow);
        });
      }

      it("disconnect: is disconnected, and gets all missed events when it resumes", async () => {
        const { slow, app } = await stallThrough("disconnect");
        await slow.ended;
        expect((await app.service.status()).sessions.closed).to.deep.equal({ "slow-consumer": 1 });
        const back = await open(app, lastIdOf(slow));
        await untilAll(back);
        // Histories are read one after the other, so only the order within a channel is kept.
        for (const isOdd of [0, 1]) {
          const got = [slow, back].flatMap(numbersOf).filter((number) => number % 2 === isOdd);
          expect(got).to.deep.equal(range(0, EVENTS).filter((number) => number % 2 === isOdd));
        }
        expect([...gapsOf(slow), ...gapsOf(back)]).to.deep.equal([]);
      });

      it("gets all events in order if it reads again in time, and otherwise does not delay a drain", async () => {
        const app = await rig.start({
          subscriptions,
          limits: { maxBufferedBytes: 64 * MEGABYTE, closeTimeoutMs: 300 },
        });
        const [late, gone] = [await open(app), await open(app)];
        for (const each of [late, gone]) each.pause();
        await publish(app.service, 0, 150);
        late.resume();
        await late.next(isNumber(149), 20_000);
        expect(numbersOf(late)).to.deep.equal(range(0, 150));
        await app.service.drain({ timeoutMs: 1_000, spreadMs: 0 });
        await eventually(async () => expect((await app.service.status()).sessions.open).to.equal(0));
      });

      for (const policy of ["disconnect", "drop-oldest", "latest"] as const) {
        it(`${policy}: is disconnected if it reads nothing for too long`, async () => {
          const app = await rig.start({
            subscriptions,
            slowConsumer: policy,
            limits: {
              maxStallMs: 300,
              maxBufferedBytes: 64 * MEGABYTE,
              maxTotalBufferedBytes: 256 * MEGABYTE,
            },
          });
          const slow = await open(app);
          slow.pause();
          await publish(app.service, 0, 150);
          await eventually(async () => {
            expect((await app.service.status()).sessions).to.deep.include({
              open: 0,
              closed: { "slow-consumer": 1 },
            });
          }, 15_000);
          expect((await app.service.status()).buffers.bytes).to.equal(0);
        });
      }

      for (const policy of ["disconnect", "drop-oldest"] as const) {
        it(`${policy}: stays within the total buffer limit together with 19 others`, async () => {
          const maxTotalBufferedBytes = 10 * MEGABYTE;
          const app = await rig.start({
            subscriptions,
            slowConsumer: policy,
            limits: { ...limits, maxTotalBufferedBytes },
          });
          const healthy = await open(app);
          const stalled = await Promise.all(Array.from({ length: 20 }, () => open(app)));
          for (const each of stalled) each.pause();
          let most = 0;
          for (let start = 0; start < 200; start += 10) {
            await publish(app.service, start, start + 10);
            most = Math.max(most, (await app.service.status({ drift: false })).buffers.bytes);
          }
          await healthy.next(isNumber(199), 20_000);
          expect(numbersOf(healthy)).to.deep.equal(range(0, 200));
          expect(gapsOf(healthy)).to.deep.equal([]);
          expect(most)
            .to.be.greaterThan(maxTotalBufferedBytes / 4)
            .and.at.most(maxTotalBufferedBytes);
          const { buffers, sessions } = await app.service.status();
          expect(buffers.exceeded).to.be.greaterThan(0);
          for (const each of stalled) each.resume();
          // The counters are final before any client reads again. A closed stream drops nothing: its client can resume.
          if (policy === "disconnect") expect(buffers.dropped).to.equal(0);
          else expect(buffers.dropped).to.be.greaterThan(0);
          if (policy === "disconnect") {
            expect(Object.keys(sessions.closed)).to.deep.equal(["slow-consumer"]);
          } else {
            expect(sessions.open).to.equal(21);
            // Every client ends at the newest position. A client that lost events has got a gap event.
            const top = await app.service.lastEventId(CHANNELS);
            for (const each of stalled) {
              await eventually(() => expect(lastIdOf(each)).to.equal(top), 20_000);
              const isWhole = numbersOf(each).length === 200;
              expect(gapsOf(each).length > 0, "told of a loss").to.equal(!isWhole);
            }
          }
          await eventually(async () => expect((await app.service.status()).buffers.bytes).to.equal(0));
        });
      }

      /** Publishes all events to a slow and a healthy client. Then the slow client reads again. */
      async function stallThrough(
        slowConsumer: SlowConsumerPolicy,
      ): Promise<{ slow: SseClient; app: StreamApp }> {
        const app = await rig.start({ subscriptions, limits }, { slowConsumer });
        const slow = await open(app);
        const healthy = await open(app);
        slow.pause();
        for (let start = 0; start < EVENTS; start += 10) {
          await publish(app.service, start, start + 10);
          const { bytes } = (await app.service.status({ drift: false })).buffers;
          expect(bytes, "what waits").to.be.at.most(2 * limits.maxBufferedBytes);
        }
        await healthy.next(isNumber(EVENTS - 1), 20_000);
        expect(numbersOf(healthy)).to.deep.equal(range(0, EVENTS));
        expect(gapsOf(healthy)).to.deep.equal([]);
        slow.resume();
        if (slowConsumer !== "disconnect") await slow.next(isNumber(EVENTS - 1), 20_000);
        return { slow, app };
      }

      /** Resumes from before the first gap and from the last gap, and expects the events after each. */
      async function expectResumes(app: StreamApp, client: SseClient): Promise<void> {
        const { events } = client;
        expect(lastIdOf(client), "all there is").to.equal(await app.service.lastEventId(CHANNELS));
        const gap = events.findIndex(isGap);
        const before = events.slice(0, gap).findLast(({ id }) => id !== undefined)!;
        const back = await open(app, before.id);
        await untilAll(back);
        const had = events.slice(0, gap).filter(({ event }) => event === "message").length;
        expect(sorted(numbersOf(back)), "from before the gap").to.deep.equal(range(had, EVENTS));
        expect(gapsOf(back)).to.deep.equal([]);
        const last = events.findLast(isGap)!;
        const behind = await open(app, last.id);
        await untilAll(behind);
        const rest = numbersOf(client).slice(had);
        expect(sorted(numbersOf(behind)), "from behind the last gap").to.include.members(rest);
        for (const number of numbersOf(behind)) expect(number, "what it had").to.be.at.least(had);
      }

      const open = (app: StreamApp, lastEventId?: string): Promise<SseClient> =>
        app.openLive(CHANNELS, lastEventId);
    },
    { timeoutMs: 60_000 },
  );

  describeFaults(`streams with a filter, ${subscriptions}`, (rig) => {
    it("send each client the events for its role, live and from history", async () => {
      const app = await rig.start(
        { subscriptions },
        {
          filter: ({ data }, req) => req.query["role"] === "admin" || !data.startsWith("secret"),
          transform: ({ data }, req) =>
            req.query["role"] === "admin" ? { event: "full", data } : { data: data.replace(/\d+/, "*") },
        },
      );
      const openAs = (role: string, lastEventId?: string): Promise<SseClient> =>
        app.openLive(CHANNELS, lastEventId, `&role=${role}`);
      const [admin, guest] = [await openAs("admin"), await openAs("guest")];
      const begun = lastIdOf(guest);
      for (const data of ["order 17", "secret 18", "order 19"]) await app.service.publish("a", { data });
      await admin.next(({ data }) => data === "order 19");
      await eventually(() => expect(dataOf(guest)).to.have.length(2));
      const full = ["order 17", "secret 18", "order 19"];
      expect(dataOf(admin)).to.deep.equal(full);
      expect(admin.events.slice(1).every(({ event }) => event === "full")).to.equal(true);
      expect(dataOf(guest)).to.deep.equal(["order *", "order *"]);
      expect(guest.text)
        .to.not.include("secret")
        .and.to.not.match(/1[789]\n/);
      const back = await openAs("guest", begun);
      await eventually(() => expect(dataOf(back)).to.deep.equal(["order *", "order *"]));
      const late = await openAs("admin", begun);
      await eventually(() => expect(dataOf(late)).to.deep.equal(full));
    });

    it("send a gap event instead of the event if the filter returns a promise", async () => {
      const fault = new Error("no database");
      const isAllowed = (): Promise<boolean> => Promise.reject(fault);
      const told: unknown[] = [];
      const app = await rig.start(
        { subscriptions },
        {
          filter: isAllowed as unknown as () => boolean,
          onError: (error, { rule, channel, event, omitted, req }) =>
            void told.push([(error as Error).message, rule, channel, event, omitted, req.method]),
        },
      );
      const client = await app.openLive(CHANNELS);
      await app.service.publish("a", { data: "secret" });
      await client.next(isGap);
      expect(gapsOf(client)).to.deep.equal([{ channels: ["a"], reason: "invalid" }]);
      expect(client.text).to.not.include("secret");
      expect(told).to.deep.equal([
        [
          "expected filter() to be synchronous, but it returned a promise",
          "filter",
          "a",
          undefined,
          0,
          "GET",
        ],
      ]);
      const { history, rules } = await app.service.status();
      expect(rules.failed).to.deep.equal({ filter: 1 });
      expect(history.gaps, "which are what publishers sent").to.deep.equal({});
    });
  });
}

/** Publishes events with these numbers: even numbers on the first channel, odd ones on the second. */
async function publish(service: RedisSse, from: number, to: number): Promise<void> {
  for (const number of range(from, to)) {
    await service.publish(CHANNELS[number % 2]!, { data: `${number} ${PADDING}` });
  }
}

/** Resolves when the client has the last event of each channel. */
async function untilAll(client: SseClient): Promise<void> {
  for (const last of [EVENTS - 2, EVENTS - 1]) await client.next(isNumber(last), 20_000);
}

function range(from: number, to: number): readonly number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

function sorted(numbers: readonly number[]): readonly number[] {
  return numbers.toSorted((one, other) => one - other);
}

function isNumber(number: number): (event: { readonly data: string }) => boolean {
  return ({ data }) => data.startsWith(`${number} `);
}

function numbersOf(client: SseClient): readonly number[] {
  return dataOf(client).map((data) => parseInt(data, 10));
}
