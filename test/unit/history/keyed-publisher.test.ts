import { expect } from "chai";

import { KeyedPublisher } from "../../../lib/history/keyed-publisher.js";
import type { RedisClient } from "../../../lib/redis/client.js";
import { deferred, settle } from "../../support/eventually.js";

/** A client whose script calls are answered by the test. */
class FakeClient {
  readonly sent: { readonly channel: string; readonly messages: readonly string[] }[] = [];
  readonly answers: ReturnType<typeof deferred<unknown>>[] = [];

  eval(_lua: string, _keys: number, _key: string, channel: string, ...messages: string[]): Promise<unknown> {
    const answer = deferred<unknown>();
    this.sent.push({ channel, messages });
    this.answers.push(answer);
    return answer.promise;
  }
}

describe("KeyedPublisher", () => {
  let fake: FakeClient;
  let publisher: KeyedPublisher;

  beforeEach(() => {
    fake = new FakeClient();
    publisher = new KeyedPublisher();
  });

  const publish = (message: string, channel = "a"): Promise<number> =>
    publisher.publish(fake as unknown as RedisClient, "key", channel, message);

  it("runs one script per channel at a time and sends later events together in the next one", async () => {
    const first = publish("1");
    const others = [publish("2"), publish("3")];
    const elsewhere = publish("x", "b");
    expect(fake.sent).to.deep.equal([
      { channel: "a", messages: ["1"] },
      { channel: "b", messages: ["x"] },
    ]);
    fake.answers[0]!.resolve([5]);
    expect(await first).to.equal(5);
    await settle();
    expect(fake.sent[2]).to.deep.equal({ channel: "a", messages: ["2", "3"] });
    fake.answers[2]!.resolve([6, 7]);
    expect(await Promise.all(others)).to.deep.equal([6, 7]);
    fake.answers[1]!.resolve([1]);
    expect(await elsewhere).to.equal(1);
    void publish("4");
    expect(fake.sent[3], "at once, because no script is running").to.deep.equal({
      channel: "a",
      messages: ["4"],
    });
  });

  it("rejects all waiting events if a script fails, and still sends later events", async () => {
    const failed = [publish("1"), publish("2"), publish("3")].map((each) =>
      each.catch((error: unknown) => error),
    );
    const fault = new Error("Connection is closed.");
    fake.answers[0]!.reject(fault);
    expect(await Promise.all(failed)).to.deep.equal([fault, fault, fault]);
    const later = publish("4");
    fake.answers[1]!.resolve([1]);
    expect(await later).to.equal(1);
    expect(fake.sent.map(({ messages }) => messages)).to.deep.equal([["1"], ["4"]]);
  });

  it("sends at most 100 events and a million characters in one script", async () => {
    const long = "x".repeat(600_000);
    void publish("first");
    for (let index = 0; index < 150; index++) void publish(String(index));
    for (let index = 0; index < 2; index++) void publish(long);
    const sizes: number[] = [];
    for (let step = 0; step < fake.sent.length; step++) {
      const { messages } = fake.sent[step]!;
      sizes.push(messages.length);
      fake.answers[step]!.resolve(messages.map(() => 0));
      await settle();
    }
    expect(sizes).to.deep.equal([1, 100, 51, 1]);
  });
});
