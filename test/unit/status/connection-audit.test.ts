import { expect } from "chai";

import type { RedisClient } from "../../../lib/redis/client.js";
import { auditConnections, type DriftReport, type LocalView } from "../../../lib/status/connection-audit.js";
import { settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";

const SECOND_LOOK_MS = 250;

/** A service with one stream of channel "a" on the shared connection. */
const QUIET: LocalView = {
  connections: {
    command: { made: 1, ready: 1 },
    subscriber: { made: 1, ready: 1 },
    lease: { made: 0, ready: 0 },
  },
  subscriptions: { settled: 1, unsettled: 0, begun: 1, losses: 0 },
  channels: ["a"],
};

const COMMAND = "id=1 name=redis-sse:command:me sub=0";
const HEALTHY = [
  COMMAND,
  "id=2 name=redis-sse:subscriber:me sub=1",
  "id=9 name=redis-sse:lease:other sub=3",
  "id=10 name= sub=0",
];

const lease = (id: number): string => `id=${id} name=redis-sse:lease:me sub=1`;

const subscriber = (channels: number): string => `id=2 name=redis-sse:subscriber:me sub=${channels}`;

/** Returns the same service with leases. */
const leases = (made: number, ready = made): LocalView => ({
  ...QUIET,
  connections: { ...QUIET.connections, lease: { made, ready } },
});

describe("auditConnections()", () => {
  let clock: FakeClock;
  let closing: AbortController;
  /** Views of the service, one for each read. The last one is used for all later reads. */
  let views: LocalView[];
  /** Client lists of the server, one for each read. The last one is used for all later reads. */
  let lists: readonly (readonly string[])[];
  let silent: readonly string[][];
  let asked: string[][];
  let listings: number;
  let refuses: boolean;

  beforeEach(() => {
    clock = new FakeClock();
    closing = new AbortController();
    views = [QUIET];
    lists = [HEALTHY];
    silent = [[]];
    asked = [];
    listings = 0;
    refuses = false;
  });

  const client = {
    status: "ready",
    client: async () => {
      const list = lists[Math.min(listings++, lists.length - 1)]!;
      return `${list.join("\n")}\n`;
    },
    pubsub: async (_: string, ...names: string[]) => {
      if (refuses) throw Object.assign(new Error("NOPERM no permissions"), { name: "ReplyError" });
      const deaf = silent[Math.min(asked.length, silent.length - 1)]!;
      asked.push(names);
      return names.flatMap((name) => [name, deaf.includes(name) ? 0 : 1]);
    },
  } as unknown as RedisClient;

  function find(connectedClients: number | null = 4): Promise<DriftReport | null> {
    return auditConnections({
      commands: () => client,
      instance: "me",
      connectedClients,
      clock,
      look: () => (views.length > 1 ? views.shift()! : views[0]!),
      signal: closing.signal,
    });
  }

  /** Returns the report of an audit that needs a second check. */
  async function findTwice(): Promise<DriftReport | null> {
    const report = find();
    await settle();
    expect(clock.pending, "the second check is scheduled").to.equal(1);
    clock.advance(SECOND_LOOK_MS);
    return report;
  }

  it("reports no drift after one check if service and server agree", async () => {
    expect(await find()).to.deep.equal({
      found: false,
      connections: {
        command: { expected: 1, actual: 1 },
        subscriber: { expected: 1, actual: 1 },
        lease: { expected: 0, actual: 0 },
      },
      subscriptions: { expected: 1, actual: 1 },
      silent: { count: 0, channels: [] },
    });
    expect(listings).to.equal(1);
    expect(clock.pending).to.equal(0);
  });

  describe("drift that a second check 250 ms later confirms", () => {
    for (const [says, list, ready, part] of [
      ["a leaked connection", [...HEALTHY, lease(5)], 0, { expected: 0, actual: 1 }],
      ["a missing lease", HEALTHY, 1, { expected: 1, actual: 0 }],
    ] as const) {
      it(`reports ${says}`, async () => {
        views = [leases(ready)];
        lists = [list];
        const report = await findTwice();
        expect(report?.found).to.equal(true);
        expect(report?.connections?.lease).to.deep.equal(part);
      });
    }

    it("reports a surplus and a missing subscription", async () => {
      for (const count of [2, 0]) {
        listings = 0;
        lists = [[COMMAND, subscriber(count)]];
        const report = await findTwice();
        expect(report?.found, String(count)).to.equal(true);
        expect(report?.subscriptions).to.deep.equal({ expected: 1, actual: count });
      }
    });

    it("reports a channel without a subscriber and asks only for this channel again", async () => {
      views = [{ ...QUIET, channels: ["a", "b", "c"] }];
      silent = [["b"]];
      const report = await findTwice();
      expect(report).to.deep.include({ found: true, silent: { count: 1, channels: ["b"] } });
      expect(asked).to.deep.equal([["a", "b", "c"], ["b"]]);
    });

    it("reports all channels as silent while their connection is lost", async () => {
      views = [
        {
          connections: { ...QUIET.connections, subscriber: { made: 1, ready: 0 } },
          subscriptions: { settled: 0, unsettled: 0, begun: 1, losses: 1 },
          channels: ["a"],
        },
      ];
      lists = [[COMMAND]];
      silent = [["a"]];
      expect(await findTwice()).to.deep.include({ found: true, silent: { count: 1, channels: ["a"] } });
    });
  });

  describe("differences that are not drift", () => {
    it("ignores a difference that is gone at the second check", async () => {
      for (const first of [[...HEALTHY, lease(5)], [COMMAND], [COMMAND, subscriber(7)]]) {
        listings = 0;
        lists = [first, HEALTHY];
        expect(await findTwice()).to.have.property("found", false);
      }
      silent = [["a"], []];
      asked = [];
      lists = [HEALTHY];
      expect(await findTwice()).to.have.property("found", false);
    });

    for (const [says, first, second] of [
      ["another surplus connection in each check", [...HEALTHY, lease(5)], [...HEALTHY, lease(6)]],
      [
        "a surplus in one check and a shortage in the other",
        [COMMAND, subscriber(2)],
        [COMMAND, subscriber(0)],
      ],
    ] as const) {
      it(`ignores ${says}`, async () => {
        lists = [first, second];
        expect(await findTwice()).to.have.property("found", false);
      });
    }

    it("ignores a lease that starts or ends during the check", async () => {
      const beginning = [leases(0), leases(0), leases(1)];
      const ending = [leases(1), leases(1), leases(0)];
      for (const [order, list] of [
        [beginning, [...HEALTHY, lease(5)]],
        [beginning, HEALTHY],
        [ending, [...HEALTHY, lease(5)]],
        [ending, HEALTHY],
        [[leases(1, 0)], HEALTHY],
      ] as const) {
        views = [...order];
        lists = [list];
        expect(await find()).to.have.property("found", false);
      }
    });

    it("ignores a difference that pending or new operations explain", async () => {
      const view = (settled: number, unsettled: number, begun: number): LocalView => ({
        ...QUIET,
        subscriptions: { settled, unsettled, begun, losses: 0 },
      });
      for (const [before, after, actual] of [
        [view(1, 2, 3), view(3, 0, 3), 3],
        [view(1, 0, 1), view(3, 0, 3), 3],
        [view(3, 0, 3), view(1, 0, 5), 1],
      ] as const) {
        views = [before, before, after];
        lists = [[COMMAND, subscriber(actual)]];
        expect(await find(), JSON.stringify(before)).to.have.property("found", false);
      }
    });

    it("ignores a difference that a lost connection explains", async () => {
      const lost = { ...QUIET, subscriptions: { settled: 0, unsettled: 1, begun: 2, losses: 1 } };
      views = [QUIET, QUIET, lost];
      lists = [[COMMAND, subscriber(0)]];
      silent = [["a"]];
      expect(await find()).to.have.property("found", false);
      views = [QUIET, QUIET, { ...QUIET, subscriptions: { settled: 0, unsettled: 0, begun: 1, losses: 1 } }];
      silent = [[]];
      expect(await find(), "only the number of losses differs").to.have.property("found", false);
    });

    it("ignores a channel that was left during the check", async () => {
      views = [QUIET, QUIET, { ...QUIET, channels: [] }];
      silent = [["a"]];
      expect(await find()).to.have.property("found", false);
    });

    it("ignores connections of other services", async () => {
      lists = [
        [...HEALTHY, "id=7 name=redis-sse:lease:me2 sub=1", "id=8 name=redis-sse:subscriber:you sub=4"],
      ];
      expect(await find()).to.have.property("found", false);
    });
  });

  describe("missing information", () => {
    it("reports null for connections if the list does not contain the audit's own connection", async () => {
      lists = [["id=1 name= sub=0", "id=2 name= sub=1"]];
      expect(await find()).to.deep.include({ found: false, connections: null, subscriptions: null });
    });

    it("reports null for subscriptions if the list does not contain their number", async () => {
      lists = [["id=1 name=redis-sse:command:me", "id=2 name=redis-sse:subscriber:me"]];
      const report = await find();
      expect(report).to.deep.include({ found: false, subscriptions: null });
      expect(report?.connections?.subscriber).to.deep.equal({ expected: 1, actual: 1 });
    });

    it("reports null for connections but checks channels if Redis has more than 2,000 clients or does not say", async () => {
      silent = [["a"]];
      for (const clients of [2_001, null]) {
        const report = find(clients);
        await settle();
        clock.advance(SECOND_LOOK_MS);
        expect(await report).to.deep.include({
          found: true,
          connections: null,
          subscriptions: null,
          silent: { count: 1, channels: ["a"] },
        });
      }
      expect(listings).to.equal(0);
      lists = [HEALTHY];
      silent = [[]];
      expect((await find(2_000))?.connections).to.not.equal(null);
    });

    it("returns null if neither connections nor channels are known", async () => {
      lists = [[]];
      refuses = true;
      expect(await find()).to.equal(null);
    });

    it("returns null if the service closes during a check", async () => {
      const look = find();
      closing.abort();
      expect(await look).to.equal(null);
    });

    it("returns null if the service closes between the checks", async () => {
      lists = [[COMMAND]];
      const report = find();
      await settle();
      closing.abort();
      expect(await report).to.equal(null);
      expect(listings, "no second check").to.equal(1);
      expect(clock.pending).to.equal(0);
    });
  });

  it("names the first 100 silent channels and reports the total number", async () => {
    const channels = Array.from({ length: 150 }, (_, index) => `c:${index}`);
    views = [{ ...QUIET, channels }];
    silent = [channels];
    const report = await findTwice();
    expect(report?.silent).to.deep.equal({ count: 150, channels: channels.slice(0, 100) });
  });

  it("asks for at most 5,000 channels, starting at a random one", async () => {
    views = [{ ...QUIET, channels: Array.from({ length: 12_000 }, (_, index) => `c:${index}`) }];
    await find();
    const first = asked.flat();
    expect(new Set(first).size).to.equal(5_000);
    asked = [];
    await find();
    expect(asked.flat()[0]).to.not.equal(first[0]);
  });
});
