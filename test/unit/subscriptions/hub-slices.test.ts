import { expect } from "chai";

import { oneStepSlices } from "../../support/one-step-slices.js";
import { HubRig, type Member } from "./hub-rig.js";

async function turns(count: number): Promise<void> {
  for (let turn = 1; turn <= count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

describe("SubscriptionHub, a round with more members than one slice", () => {
  let rig: HubRig;
  let members: readonly Member[];

  beforeEach(async () => {
    rig = new HubRig(oneStepSlices());
    members = await Promise.all([["a"], ["a"], ["a", "b"], ["a", "b"]].map((names) => rig.member(...names)));
  });

  const heard = (): readonly string[] => members.map((member) => member.heard.join(" "));

  it("continues in later turns, with one write for each member", async () => {
    rig.say("a", "a1");
    rig.say("b", "b1");
    rig.hub.flush();
    expect(heard()).to.deep.equal(["a1", "", "", ""]);
    await turns(1);
    expect(heard()).to.deep.equal(["a1", "a1", "", ""]);
    await turns(20);
    expect(heard()).to.deep.equal(["a1", "a1", "a1 b1", "a1 b1"]);
    expect(members[3]!.calls).to.deep.equal(["cork", "a1", "b1", "uncork"]);
  });

  it("comes before the rounds that start later, for each member", async () => {
    for (const message of ["a1", "a2", "a3"]) rig.message("a", message);
    await turns(40);
    expect(heard()).to.deep.equal(Array(4).fill("a1 a2 a3"));
  });

  it("lets other work of the process run in between", async () => {
    const order: string[] = [];
    for (const [index, member] of members.entries()) member.onDeliver = () => order.push(`member ${index}`);
    rig.message("a", "a1");
    setImmediate(() => order.push("other work"));
    await turns(20);
    expect(order).to.have.length(5);
    expect(order[0]).to.equal("member 0");
    expect(order.at(-1)).to.equal("member 3");
    expect(order.indexOf("other work")).to.be.within(1, 2);
  });

  it("gives nothing to a member that joins before it ends, and the next round to all", async () => {
    rig.message("a", "a1");
    const late = await rig.member("a");
    rig.message("a", "a2");
    await turns(40);
    expect(late.heard).to.deep.equal(["a2"]);
    expect(heard()).to.deep.equal(Array(4).fill("a1 a2"));
  });

  it("gives its events to a member before it leaves, and before it gets the events of another channel", async () => {
    rig.message("a", "a1");
    rig.hub.leave("a", members[1]!);
    expect(members[1]!.heard).to.deep.equal(["a1"]);
    void rig.hub.join("b", members[0]!);
    rig.message("b", "b1");
    rig.hub.catchUp(members[3]!);
    expect(members[3]!.heard).to.deep.equal(["a1", "b1"]);
    rig.message("a", "a2");
    await turns(40);
    expect(heard()).to.deep.equal(["a1 b1 a2", "a1", "a1 b1 a2", "a1 b1 a2"]);
  });

  it("comes before the news that the connection was lost, which comes before later events", async () => {
    const order: string[] = [];
    const [, second] = members;
    second!.onDeliver = ({ last: { data } }) => order.push(data);
    second!.interrupted = () => void order.push("interrupted");
    rig.message("a", "a1");
    rig.connection.lose();
    rig.connection.restore();
    await Promise.resolve();
    await turns(2);
    rig.message("a", "a2");
    await turns(40);
    expect(order).to.deep.equal(["a1", "interrupted", "a2"]);
  });

  it("gives no later round to a member that is being served, if another member catches it up", async () => {
    const [first, second] = members;
    const order: string[] = [];
    first!.onDeliver = ({ last: { data } }) => {
      order.push(`first begins ${data}`);
      rig.hub.catchUp(second!);
      order.push(`first ends ${data}`);
    };
    second!.onDeliver = () => rig.hub.catchUp(first!);
    for (const message of ["a1", "a2", "a3"]) rig.message("a", message);
    await turns(40);
    const begun = ["a1", "a2", "a3"].flatMap((data) => [`first begins ${data}`, `first ends ${data}`]);
    expect(order).to.deep.equal(begun);
    expect(heard()).to.deep.equal(Array(4).fill("a1 a2 a3"));
  });

  it("tells no member that messages of a channel may be missing that it left during an earlier round", async () => {
    const [, , third, fourth] = members;
    third!.onDeliver = () => rig.hub.leave("b", third!);
    rig.message("a", "a1");
    rig.connection.lose();
    rig.connection.restore();
    await turns(40);
    expect(third!.gaps).to.deep.equal([["a"]]);
    expect(fourth!.gaps).to.deep.equal([["a", "b"]]);
  });

  it("does not report a denied channel to a member that left it during the round", async () => {
    const [, second, , fourth] = members;
    second!.onDeliver = () => rig.hub.leave("a", second!);
    rig.message("a", "a1");
    rig.connection.lose();
    const denied = Object.assign(new Error("NOPERM No permissions to access a channel"), {
      name: "ReplyError",
    });
    rig.connection.answer = (names) => (names.includes("a") ? Promise.reject(denied) : Promise.resolve());
    rig.connection.restore();
    for (let tick = 0; tick < 20; tick++) await Promise.resolve();
    await turns(1);
    expect(heard()).to.deep.equal(Array(4).fill("a1"));
    expect(second!.refusals).to.deep.equal([]);
    expect(fourth!.refusals).to.deep.equal([["a", "SUBSCRIBE_REFUSED"]]);
  });

  it("costs a member that catches up nothing for the other channels of the round", async () => {
    const names = Array.from({ length: 20 }, (_, index) => `c${index}`);
    await rig.member(...names);
    const one = await rig.member("c7");
    const several = await rig.member("c9", "c3", "c5");
    for (const name of names) rig.say(name, `${name} first`);
    for (const name of names) rig.say(name, `${name} second`);
    rig.hub.catchUp(one);
    rig.hub.catchUp(several);
    expect(one.calls).to.deep.equal(["cork", "c7 first", "c7 second", "uncork"]);
    expect(several.heard).to.deep.equal([
      "c3 first",
      "c5 first",
      "c9 first",
      "c3 second",
      "c5 second",
      "c9 second",
    ]);
    rig.message("a", "a1");
    for (const name of names.slice(0, 10)) rig.say(name, "third");
    rig.hub.catchUp(one);
    // One batch needs no cork. With a search through all batches, there would be one.
    expect(one.calls.slice(4)).to.deep.equal(["third"]);
  });

  it("ends in one turn if more than 8 MiB of messages wait", () => {
    const mebibyte = "x".repeat(1024 * 1024);
    for (let message = 1; message <= 8; message++) rig.message("a", mebibyte);
    expect(members[3]!.batches).to.have.length(0);
    rig.message("a", mebibyte);
    expect(members[3]!.batches).to.have.length(9);
  });

  it("ends before the hub is closed", async () => {
    rig.message("a", "a1");
    await rig.hub.close();
    expect(heard()).to.deep.equal(Array(4).fill("a1"));
  });

  it("ends before the hub is closed, also if a member closes the hub during the round", async () => {
    const closing: Promise<void>[] = [];
    members[1]!.onDeliver = () => void closing.push(rig.hub.close());
    rig.message("a", "a1");
    await rig.hub.close();
    await Promise.all(closing);
    expect(closing).to.have.length(1);
    expect(heard()).to.deep.equal(Array(4).fill("a1"));
    expect(rig.hub.statistics.memberFaults).to.equal(0);
  });
});
